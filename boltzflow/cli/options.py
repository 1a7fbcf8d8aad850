"""Options that several commands have."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from boltzflow.errors import MissingFileError, OptionError
from boltzflow.molecules.forcefields import scripts
from boltzflow.workflows import training as runs
from boltzflow.workflows.config import SystemConfig

Molecule = Annotated[
    str, typer.Argument(metavar="SYSTEM|FILE.pdb", help="A system's name, or a PDB file with all hydrogens.")
]
ForceFieldFiles = Annotated[
    list[str] | None,
    typer.Option(
        help=f"OpenMM force-field file, repeatable; for a PDB file. Default: {' '.join(runs.PDB_FORCEFIELD)}."
    ),
]


def on_command_line(ctx: typer.Context, name: str) -> bool:
    """Whether an option was given, rather than its default taken."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def molecule_settings(system: str, forcefield: list[str] | None, temperature: float | None) -> dict[str, Any]:
    """The settings that say which molecule."""
    pdb = runs.is_pdb(system)
    return {
        "system": str(Path(system).resolve()) if pdb else system,
        "forcefield": forcefield or (runs.PDB_FORCEFIELD if pdb else ()),
        "temperature": temperature,
    }


Config = TypeVar("Config", bound=SystemConfig)


def resumed(config: Config, directory: Path, given: set[str]) -> Config:
    """The settings of the run in `directory`, which the options given must agree with."""
    if not (directory / runs.CONFIG).is_file():
        raise MissingFileError(f"{directory} holds no run to go on with: {runs.CONFIG} is missing.")
    stored = type(config).read(directory / runs.CONFIG)
    for name in sorted(given):
        if getattr(stored, name) != getattr(config, name):
            raise OptionError(
                f"The run in {directory} has {name} {getattr(stored, name)}; got {getattr(config, name)}: "
                "resume with its own settings, or start anew in another --out."
            )
    if "forcefield" not in given and (found := scripts(stored.forcefield)):
        raise OptionError(
            f"Expected a force field without code in {directory / runs.CONFIG}; <{found[0][1]}> of {found[0][0]} would "
            "run some: name it with --forcefield if it is yours."
        )
    return stored


def tell_interrupted(command: str, directory: Path) -> None:
    """What Ctrl-C has left of a run, and how to go on."""
    if not (directory / runs.CONFIG).exists():
        typer.echo("Interrupted before the run had begun: nothing is kept.", err=True)
        return
    kept = "The last checkpoint is kept" if (directory / runs.CHECKPOINT).exists() else "There is no checkpoint yet"
    typer.echo(f"Interrupted. {kept}; go on with: {command} --out {shlex.quote(str(directory))} --resume", err=True)
