"""Parts that commands with settings of a run share."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from boltzflow.cli.fields import Given, help_of
from boltzflow.errors import MissingFileError, OptionError
from boltzflow.molecules.forcefields import scripts
from boltzflow.workflows import training as runs
from boltzflow.workflows.config import SystemConfig

Molecule = Annotated[
    str | None,
    typer.Argument(metavar="[SYSTEM|FILE]", help=help_of(SystemConfig.model_fields["system"]), show_default=False),
]
Config = TypeVar("Config", bound=SystemConfig)

_LONGEST = 60  # letters of a directory's name


def name_of(system: str | None, given: Given) -> str:
    """A name for the molecule's files: that of its system or file, its sequence, or its SMILES without punctuation.

    Raises:
        OptionError: if there is no molecule.
    """
    name = Path(system).stem if system is not None else given.get("sequence")
    name = name or re.sub("[^A-Za-z0-9]+", "_", given.get("smiles") or "").strip("_")[:_LONGEST]
    if not name:
        raise OptionError("Expected a molecule: a system's name, a file, --sequence or --smiles; got none.")
    return str(name)


def resumed(config: Config, directory: Path, given: Given) -> Config:
    """The settings of the run in `directory`; those given must agree with them."""
    if not (directory / runs.CONFIG).is_file():
        raise MissingFileError(f"{directory} contains no run to resume: {runs.CONFIG} is missing.")
    stored = type(config).read(directory / runs.CONFIG)
    for name in sorted(given):
        if getattr(stored, name) != getattr(config, name):
            raise OptionError(
                f"The run in {directory} has {name} {getattr(stored, name)}; got {getattr(config, name)}: "
                "resume with its own settings, or start a new run in another --out."
            )
    if "forcefield" not in given and (found := scripts(stored.forcefield)):
        raise OptionError(
            f"Expected a force field without code in {directory / runs.CONFIG}; <{found[0][1]}> of {found[0][0]} would "
            "run code: name it with --forcefield if you trust it."
        )
    return stored


def tell_interrupted(command: str, directory: Path) -> None:
    """Print what Ctrl-C has left of a run, and how to resume it."""
    if not (directory / runs.CONFIG).exists():
        typer.echo("Interrupted before the run had begun; nothing was kept.", err=True)
        return
    kept = "The last checkpoint is kept" if (directory / runs.CHECKPOINT).exists() else "There is no checkpoint yet"
    typer.echo(f"Interrupted. {kept}; resume with: {command} --out {shlex.quote(str(directory))} --resume", err=True)
