"""Validated settings: the base of options, architectures and YAML documents."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from boltzflow.errors import OptionError

# A few YAML anchors can expand to more text than fits in memory.
_SHORTLY = reprlib.Repr()
_SHORTLY.maxstring = _SHORTLY.maxother = 200

SEEDS = 2**64
"""The number of seeds that PyTorch accepts."""


def within(low: float, high: float, unit: str = "", zero: bool = False) -> AfterValidator:
    """A validator of numbers from `low` to `high`, or 0; it refuses infinity and NaN."""

    def check(value: float) -> float:
        if low <= value <= high or (zero and value == 0.0):
            return value
        raise ValueError(f"expected {'0 or ' if zero else ''}a number from {low:g} to {high:.9g} {unit}".rstrip())

    return AfterValidator(check)


Count = Annotated[int, Field(gt=0, lt=2**63)]
CountOrNone = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Kelvin = Annotated[float, within(1.0, 1e5, "K")]
Time = Annotated[float, within(1e-3, 1e9, "ps")]
TimeOrNone = Annotated[float, within(1e-3, 1e9, "ps", zero=True)]

Part = TypeVar("Part", bound="Settings")


class Settings(BaseModel):
    """The base of settings: immutable, without unknown names.

    The text below a field describes it. Its first paragraph is the help of the command-line option. The field's
    `json_schema_extra` may hold `option`, the option's name if it differs from the field's, and `default`, the text for
    a default that is no fixed value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    heading: ClassVar[str] = ""
    """The heading of these settings in the command line's help."""

    def __init__(self, **values: Any) -> None:
        """Settings from Python values.

        Raises:
            OptionError: names the setting, what was expected and what was given.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(_sentence(error)) from None

    @classmethod
    def of(cls, **values: object) -> Self:
        """The same for values whose types are not known before."""
        return cls(**values)

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given explicitly, by name."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def part(self, kind: type[Part]) -> Part:
        """The settings that `kind` has too, as an object of that kind."""
        return kind.of(**{name: getattr(self, name) for name in kind.model_fields})


def _sentence(error: ValidationError) -> str:
    """The first error in one sentence."""
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"Unknown key '{key}'."
    if fault["type"] == "missing":
        return f"The key '{key}' is missing."
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:  # an error of several settings together
        return f"{message}."
    return f"Invalid value for '{key}': {message[0].lower()}{message[1:]}; got {_SHORTLY.repr(fault['input'])}."
