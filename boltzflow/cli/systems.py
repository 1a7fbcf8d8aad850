"""boltzflow systems list and add."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boltzflow.analysis.report.summary import GENERATOR
from boltzflow.cli.fields import help_of
from boltzflow.cli.root import app
from boltzflow.molecules import SystemDescription, available_systems
from boltzflow.molecules.adding import add_to_library, new_folder, read_molecule
from boltzflow.molecules.library import DESCRIPTION
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.hydrogens import check_ph
from boltzflow.units import checked_temperature
from boltzflow.workflows.config import PDB_FORCEFIELD, SystemConfig

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
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="PDB, mmCIF (.cif), Amber .prmtop, GROMACS .top or CHARMM .psf.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the system; that of the file if not given.", show_default=False)
    ] = None,
    coordinates: Annotated[
        Path | None,
        typer.Option(help="Positions for .prmtop (inpcrd, rst7), .top (gro) or .psf (pdb, crd).", show_default=False),
    ] = None,
    parameters: Annotated[
        list[Path] | None, typer.Option(help="CHARMM rtf, prm or str file for .psf; repeatable.", show_default=False)
    ] = None,
    forcefield: Annotated[
        list[str] | None,
        typer.Option(help=help_of(SystemConfig.model_fields["forcefield"]), show_default=" ".join(PDB_FORCEFIELD)),
    ] = None,
    hydrogens_at_ph: Annotated[
        float | None, typer.Option(help="Add missing hydrogens of a PDB or mmCIF file at this pH.", show_default=False)
    ] = None,
    constraints: Annotated[Constraints, typer.Option(help="Constraints on bonds and angles.")] = "none",
    temperature: Annotated[float, typer.Option(help="Temperature in K.")] = 300.0,
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

        boltzflow systems add my.pdb --forcefield amber14-all.xml --forcefield implicit/obc2.xml
        boltzflow systems add 1uao.cif --name chignolin_wt --hydrogens-at-ph 7
        boltzflow systems add ligand.prmtop --coordinates ligand.inpcrd
    """
    name = file.stem.lower().replace("-", "_") if name is None else name
    new_folder(name, library)
    checked_temperature(temperature)  # before reading the file, which may take long
    if hydrogens_at_ph is not None:
        check_ph(hydrogens_at_ph)
    is_structure = file.suffix.lower() in (".pdb", ".cif")
    field = tuple(forcefield or (PDB_FORCEFIELD if is_structure else ()))
    system = read_molecule(
        file,
        coordinates=coordinates,
        parameters=parameters or (),
        forcefield=field,
        hydrogens_at_ph=hydrogens_at_ph,
        constraints=constraints,
        temperature=temperature,
    )
    size = len(system.coordinates().domain)
    folder = add_to_library(
        system,
        name,
        source=file.name,
        forcefield=field,
        constraints=constraints,
        library=library,
    )
    typer.echo(f"{folder.name}: {system.n_atoms} atoms, {size} internal coordinates; written to {folder}")
    if library is not None:
        typer.echo(f"To use it, add this folder to $BOLTZFLOW_SYSTEMS: {library}")
