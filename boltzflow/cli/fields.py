"""Command-line options built from the fields of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from boltzflow.errors import OptionError
from boltzflow.settings import Settings
from boltzflow.workflows.config import SystemConfig

Command = Callable[..., None]
Given = dict[str, Any]
"""Settings given on the command line, by name."""

ARGUMENTS = {"system"}
"""Settings that are arguments, not options."""


def with_settings(config: type[SystemConfig]) -> Callable[[Command], Command]:
    """A decorator that adds an option for each setting to a command, under the headings of the settings' classes.

    The command is called with its own arguments and with `given`, the settings that stand on the command line.
    """
    settings = {setting.name: setting for setting in settings_of(config)}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(ctx: typer.Context, **values: Any) -> None:
            texts = {name: values.pop(name) for name in settings}
            given = {name: settings[name].value(text) for name, text in texts.items() if _is_named(ctx, name)}
            command(**values, given=given)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "given"),
            *(setting.parameter for setting in settings.values()),
        ]
        vars(run)["__signature__"] = inspect.Signature(parameters)
        return run

    return decorate


def settings_of(config: type[SystemConfig]) -> Iterator[Setting]:
    """Yield a class's own settings first, then those of its base classes."""
    seen = set(ARGUMENTS)
    for kind in config.__mro__:
        if issubclass(kind, Settings) and kind.heading:
            own = [name for name in inspect.get_annotations(kind) if name in config.model_fields and name not in seen]
            seen.update(own)
            yield from (Setting(name, config.model_fields[name], kind.heading) for name in own)


class Setting:
    """A field of settings as an option.

    Attributes:
        name: name of the field.
        flag: name of the option.
    """

    def __init__(self, name: str, field: FieldInfo, heading: str) -> None:
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        self.name, self.flag = name, str(extra.get("option", "--" + name.replace("_", "-")))
        self._field, self._heading, self._default = field, heading, extra.get("default")
        self._kind, self._choices, self._is_list = _kind(field.annotation)

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as a parameter of the command's signature."""
        default, numbers = self._field.default, self._is_list and self._kind is not str
        kind: Any = list[str] if self._is_list and not numbers else str if numbers else self._kind
        if self._default is not None or default is None:
            default, kind = None, kind | None
        option = typer.Option(
            self.flag,
            help=help_of(self._field),
            metavar="|".join(self._choices) or None,
            show_default=default is not None if self._default is None else str(self._default),
            rich_help_panel=self._heading,
        )
        annotation = Annotated[kind, option]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    def value(self, text: Any) -> Any:
        """The setting's value from the option's text."""
        if not self._is_list or self._kind is str:
            return text
        try:
            return tuple(self._kind(number) for number in text.split(","))
        except ValueError:
            example = ",".join(map(str, (self._field.examples or [()])[0]))
            said = f"Expected {self.flag} as numbers separated by commas, such as {example}; got {text!r}."
            raise OptionError(said) from None


def help_of(field: FieldInfo) -> str:
    """The first paragraph of a field's description."""
    return " ".join((field.description or "").partition("\n\n")[0].split())


def _kind(annotation: Any) -> tuple[type, tuple[str, ...], bool]:
    """The type of a field's values, its choices, and whether it holds several values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return str, arguments, False
    if origin is tuple:
        return _kind(arguments[0])[0], (), True
    return _kind(arguments[0]) if arguments else (annotation, (), False)  # Annotated, or a type or None


def _is_named(ctx: typer.Context, name: str) -> bool:
    """Whether an option was given explicitly."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
