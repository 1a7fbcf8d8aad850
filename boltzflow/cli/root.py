"""The root of the command line: its options, and how its errors are told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import boltzflow
from boltzflow.errors import BoltzflowError

INTERRUPTED = 130  # the shell's exit code for Ctrl-C


class Commands(typer.core.TyperGroup):
    """Commands whose errors are one sentence, without traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BoltzflowError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            typer.echo(f"Error: cannot read or write: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None


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
        typer.echo(boltzflow.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Independent equilibrium samples of molecules, each with its exact weight.

    A normalizing flow learns a molecule's Boltzmann distribution from its
    force field alone; no simulation is needed. Begin with:

        boltzflow systems
        boltzflow train alanine_dipeptide --out runs/first
        boltzflow sample runs/first -n 10000 --out more
    """
