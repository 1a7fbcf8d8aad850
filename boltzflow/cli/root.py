"""The root of the command line: its options and its error messages."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
import typer

from boltzflow.errors import BoltzflowError
from boltzflow.version import __version__

# ClickException, of click or of the copy within newer versions of typer.
_Usage = cast("type[Exception]", typer.BadParameter.__mro__[2])
_DEBUG = "boltzflow.debug"
INTERRUPTED = 130  # the shell's exit code for Ctrl-C


class Commands(typer.core.TyperGroup):
    """Commands that print errors in one sentence, or with --debug anywhere on the command line the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_DEBUG] = "--debug" in args
        return super().parse_args(ctx, [arg for arg in args if arg != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (_Usage, typer.Exit, typer.Abort, SystemExit):
            raise
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BaseException as error:  # libraries in other languages raise exceptions that are not `Exception`
            if ctx.meta[_DEBUG]:
                raise
            typer.echo(f"Error: {_sentence(error)}", err=True)
            raise typer.Exit(1) from None


def _sentence(error: BaseException) -> str:
    """The message for an error."""
    text = " ".join(str(error).split()) or "no details available"
    if isinstance(error, BoltzflowError):
        return text
    if isinstance(error, OSError):
        return f"Cannot read or write {error.filename or 'a file'}: {error.strerror or text}."
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"Out of memory: use fewer samples, a smaller batch or a smaller flow ({text})."
    return (
        f"Unexpected {type(error).__name__}: {text}. This is a bug in boltzflow; please report "
        "the output of the same command with --debug."
    )


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Independent equilibrium samples of molecules, each with its exact weight.

    A normalizing flow learns a molecule's Boltzmann distribution from its
    force field alone; no simulation is needed. Quick start:

        boltzflow systems
        boltzflow train alanine_dipeptide --out runs/first
        boltzflow sample runs/first -n 10000 --out more
    """
