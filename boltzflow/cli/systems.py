"""boltzflow systems list and add."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from boltzflow.analysis.report.summary import GENERATOR
from boltzflow.cli.fields import Given, with_settings
from boltzflow.cli.options import Molecule, name_of
from boltzflow.cli.root import app
from boltzflow.molecules import SystemDescription, available_systems
from boltzflow.molecules.adding import add_to_library, new_folder
from boltzflow.molecules.library import DESCRIPTION
from boltzflow.molecules.sources import forcefield_files
from boltzflow.workflows.config import SystemConfig
from boltzflow.workflows.training import build_system

systems = typer.Typer(invoke_without_command=True)
app.add_typer(systems, name="systems")


@systems.callback()
def _list_by_default(ctx: typer.Context) -> None:
    """The library of molecules: list it, or add your own.

    Further systems are read from the folders in $BOLTZFLOW_SYSTEMS, each
    with NAME/system.yaml and NAME/topology.pdb.
    """
    if ctx.invoked_subcommand is None:
        list_systems()


@systems.command(name="list")
def list_systems() -> None:
    """List the systems of the library."""
    for name, folder in available_systems().items():
        trained = " (trained generator)" if (folder / GENERATOR).is_file() else ""
        typer.echo(f"{name:24} {SystemDescription.read(folder / DESCRIPTION).description}{trained}")


@systems.command()
@with_settings(SystemConfig)
def add(
    given: Given,
    system: Molecule = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the system; that of the file if not given.", show_default=False)
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Folder of systems; your personal library if not given.", show_default=False)
    ] = None,
) -> None:
    """Add a molecule to the library.

    Writes NAME/system.yaml, NAME/topology.pdb and NAME/README.md; also
    NAME/system.xml if OpenMM does not ship the force field, and
    NAME/structure.json if the PDB format cannot represent all names.
    Checks first that internal coordinates can be made for the molecule.

    Examples:

        boltzflow systems add my.pdb
        boltzflow systems add 1uao.cif --name chignolin_wt --hydrogens-at-ph 7
        boltzflow systems add ligand.prmtop --coordinates ligand.inpcrd
        boltzflow systems add --sequence AVS
        boltzflow systems add --smiles 'Cc1ccccc1O' --name o_cresol
    """
    source = name_of(system, given)
    name = re.sub("[^a-z0-9_]", "_", source.lower()) if name is None else name
    new_folder(name, library)
    config = SystemConfig.of(system=system, **given)
    molecule = build_system(config)
    size = len(molecule.coordinates().domain)
    folder = add_to_library(
        molecule,
        name,
        source=source if system is None else Path(system).name,
        forcefield=forcefield_files(config.system, config.sequence, config.forcefield),
        constraints=config.constraints,
        library=library,
    )
    typer.echo(f"{folder.name}: {molecule.n_atoms} atoms, {size} internal coordinates; written to {folder}")
    if library is not None:
        typer.echo(f"To use it, add this folder to $BOLTZFLOW_SYSTEMS: {library}")
