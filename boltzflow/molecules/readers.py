"""Files of other programs as topology, System and positions, through OpenMM's readers. Without cutoff or box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

import openmm
import openmm.unit as u
from openmm import app

from boltzflow.errors import FileFormatError, OptionError, SystemNotFoundError, TopologyError
from boltzflow.molecules.bonds import stretched_bond
from boltzflow.molecules.hydrogens import with_hydrogens
from boltzflow.molecules.parametrize import (
    CONSTRAINTS,
    Constraints,
    ForceFieldFiles,
    create_system,
    file_names,
    one_line,
    read_forcefield,
)

ImplicitSolvent = Literal["none", "HCT", "OBC1", "OBC2", "GBn", "GBn2"]

_SOLVENTS = {
    "none": None,
    "HCT": app.HCT,
    "OBC1": app.OBC1,
    "OBC2": app.OBC2,
    "GBn": app.GBn,
    "GBn2": app.GBn2,
}

Read = TypeVar("Read")


class Parts(NamedTuple):
    """What a molecular system is made from."""

    topology: app.Topology
    system: openmm.System
    positions: u.Quantity


def from_structure(
    path: str | Path,
    reader: Callable[[IO[str]], Any],
    kind: str,
    forcefield: ForceFieldFiles,
    constraints: Constraints | None,
    hydrogens_at_ph: float | None,
) -> Parts:
    """A structure file of `kind`, and a force field."""
    structure = _read(path, _from_path(reader), kind)
    files = file_names(forcefield)
    field = read_forcefield(files)
    topology, positions = structure.topology, structure.positions
    if hydrogens_at_ph is not None:
        topology, positions = with_hydrogens(topology, positions, field, hydrogens_at_ph)
    _refuse_gaps(topology, positions)
    return Parts(topology, create_system(topology, field, files, constraints), positions)


def from_amber(
    prmtop: str | Path, coordinates: str | Path, implicit_solvent: ImplicitSolvent, constraints: Constraints | None
) -> Parts:
    """Amber's parameters and topology, and its coordinates."""
    parameters = _read(prmtop, app.AmberPrmtopFile, "Amber prmtop")
    positions = _read(coordinates, app.AmberInpcrdFile, "Amber coordinate").positions
    system = parameters.createSystem(**_options(constraints), implicitSolvent=_solvent(implicit_solvent))
    return Parts(parameters.topology, system, positions)


def from_gromacs(
    top: str | Path, gro: str | Path, include_folder: str | Path | None, constraints: Constraints | None
) -> Parts:
    """GROMACS' topology with all that it includes, and its structure."""
    folder = None if include_folder is None else str(include_folder)
    parameters = _read(top, lambda path: app.GromacsTopFile(path, includeDir=folder), "GROMACS top")
    positions = _read(gro, app.GromacsGroFile, "GROMACS gro").positions
    return Parts(parameters.topology, parameters.createSystem(**_options(constraints)), positions)


def from_charmm(
    psf: str | Path,
    structure: str | Path,
    parameters: Sequence[str | Path],
    implicit_solvent: ImplicitSolvent,
    constraints: Constraints | None,
) -> Parts:
    """CHARMM's structure file, positions as PDB or CRD, and parameter files (rtf, prm, str)."""
    molecule = _read(psf, app.CharmmPsfFile, "CHARMM psf")
    reader = _from_path(app.PDBFile) if Path(structure).suffix.lower() == ".pdb" else app.CharmmCrdFile
    positions = _read(structure, reader, "PDB or CHARMM crd").positions
    for path in parameters:
        _require(path)
    try:
        values = app.CharmmParameterSet(*map(str, parameters))
        system = molecule.createSystem(values, **_options(constraints), implicitSolvent=_solvent(implicit_solvent))
    except Exception as error:  # the reader lets any Python error through
        raise FileFormatError(
            f"Expected CHARMM parameters that fit {psf} in {', '.join(map(str, parameters)) or 'no files'}; "
            f"reading them failed: {one_line(error)}."
        ) from None
    return Parts(molecule.topology, system, positions)


def _options(constraints: Constraints | None) -> dict[str, Any]:
    constraints = constraints or "none"
    if constraints not in CONSTRAINTS:
        raise OptionError(f"Expected constraints {', '.join(CONSTRAINTS)}; got {constraints!r}.")
    return {
        "nonbondedMethod": app.NoCutoff,
        "constraints": CONSTRAINTS[constraints],
        "rigidWater": constraints != "none",
        "removeCMMotion": False,
    }


def _solvent(name: ImplicitSolvent) -> Any:
    if name not in _SOLVENTS:
        raise OptionError(f"Expected implicit solvent {', '.join(_SOLVENTS)}; got {name!r}.")
    return _SOLVENTS[name]


def _require(path: str | Path) -> None:
    if not Path(path).is_file():
        raise SystemNotFoundError(f"No such file: {path}.")


def _read(path: str | Path, reader: Callable[[str], Read], kind: str) -> Read:
    _require(path)
    try:
        return reader(str(path))
    except Exception as error:  # OpenMM's readers let any Python error through
        raise FileFormatError(f"Expected a {kind} file in {path}; reading it failed: {one_line(error)}.") from None


def _from_path(reader: Callable[[IO[str]], Read]) -> Callable[[str], Read]:
    """A reader of open files for a path: given one, some of OpenMM's leave the file open when they fail."""

    def read(path: str) -> Read:
        with Path(path).open(encoding="utf-8") as file:
            return reader(file)

    return read


def _refuse_gaps(topology: app.Topology, positions: u.Quantity) -> None:
    """Raise a TopologyError where residues that follow each other are bonded over a gap: some are missing."""
    found = stretched_bond(topology, positions.value_in_unit(u.nanometer))
    if found is not None:
        one, other, distance = found
        raise TopologyError(
            f"Expected bonded atoms side by side; {one} and {other} are {distance:.2f} nm apart: residues or atoms "
            "between them are missing. Model them (PDBFixer), or let the chain end there with caps of its own."
        )
