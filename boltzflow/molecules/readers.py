"""Files of other programs as topology, System and positions, through OpenMM's readers. Without cutoff or box."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import openmm
import openmm.unit as u
from openmm import app

from boltzflow.errors import BoltzflowError, FileFormatError, OptionError, SystemNotFoundError
from boltzflow.molecules.fit import check_positions, check_structure
from boltzflow.molecules.forcefields import one_line
from boltzflow.molecules.hydrogens import with_hydrogens
from boltzflow.molecules.parametrize import CONSTRAINTS, Constraints, create_system
from boltzflow.molecules.structures import read_structure

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
    kind: Literal["PDB", "mmCIF"],
    field: app.ForceField,
    files: Sequence[str],
    constraints: Constraints | None,
    hydrogens_at_ph: float | None = None,
) -> Parts:
    """A structure file of `kind`, and a force field of these files."""
    structure = read(path, kind)
    topology, positions = structure.topology, structure.positions
    check_structure(topology, positions, path)
    if hydrogens_at_ph is not None:
        topology, positions = with_hydrogens(topology, positions, field, hydrogens_at_ph)
    return Parts(topology, create_system(topology, field, files, constraints), positions)


def from_amber(
    prmtop: str | Path, coordinates: str | Path, implicit_solvent: ImplicitSolvent, constraints: Constraints | None
) -> Parts:
    """Amber's parameters and topology, and its coordinates."""
    options = {**_options(constraints), "implicitSolvent": _solvent(implicit_solvent)}
    parameters = _read(prmtop, app.AmberPrmtopFile, "an Amber prmtop")
    positions = _read(coordinates, app.AmberInpcrdFile, "an Amber coordinate").positions
    check_positions(parameters.topology, positions, None, prmtop, coordinates)
    with _explained(f"Amber parameters that OpenMM can use in {prmtop}"):
        system = parameters.createSystem(**options)
    return Parts(parameters.topology, system, positions)


def from_gromacs(
    top: str | Path, gro: str | Path, include_folder: str | Path | None, constraints: Constraints | None
) -> Parts:
    """GROMACS' topology with all that it includes, and its structure."""
    folder = None if include_folder is None else str(include_folder)
    options = _options(constraints)
    parameters = _read(top, lambda path: app.GromacsTopFile(path, includeDir=folder), "a GROMACS top")
    structure = _read(gro, app.GromacsGroFile, "a GROMACS gro")
    if structure.getNumFrames() > 1:
        warnings.warn(f"{gro} holds {structure.getNumFrames()} frames; the first one is read.", stacklevel=3)
    names = list(zip(structure.residueNames, structure.atomNames, strict=True))
    check_positions(parameters.topology, structure.positions, names, top, gro)
    with _explained(f"GROMACS parameters that OpenMM can use in {top}"):
        system = parameters.createSystem(**options)
    return Parts(parameters.topology, system, structure.positions)


def from_charmm(
    psf: str | Path,
    structure: str | Path,
    parameters: Sequence[str | Path],
    implicit_solvent: ImplicitSolvent,
    constraints: Constraints | None,
) -> Parts:
    """CHARMM's structure file, positions as PDB or CRD, and parameter files (rtf, prm, str)."""
    options = {**_options(constraints), "implicitSolvent": _solvent(implicit_solvent)}
    molecule = _read(psf, app.CharmmPsfFile, "a CHARMM psf")
    if Path(structure).suffix.lower() == ".pdb":
        pdb = read(structure, "PDB")
        positions, names = pdb.positions, [(atom.residue.name, atom.name) for atom in pdb.topology.atoms()]
    else:
        crd = _read(structure, app.CharmmCrdFile, "a CHARMM crd")
        positions, names = crd.positions, list(zip(crd.resname, crd.attype, strict=True))
    check_positions(molecule.topology, positions, names, psf, structure)
    for path in parameters:
        _require(path)
    with _explained(f"CHARMM parameters that fit {psf} in {', '.join(map(str, parameters)) or 'no files'}"):
        system = molecule.createSystem(app.CharmmParameterSet(*map(str, parameters)), **options)
    return Parts(molecule.topology, system, positions)


def read(path: str | Path, kind: Literal["PDB", "mmCIF"]) -> app.PDBFile | app.PDBxFile:
    """The first model of a structure file; see `read_structure`.

    Raises:
        SystemNotFoundError: if there is no such file.
        FileFormatError: if it is damaged or of another kind.
    """
    return _read(path, lambda path: read_structure(Path(path), kind), "a PDB" if kind == "PDB" else "an mmCIF")


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
    with _explained(f"{kind} file in {path}"):
        return reader(str(path))


@contextmanager
def _explained(expected: str) -> Iterator[None]:
    """Turns what OpenMM's readers raise, which may be any of Python's errors, into one that says what was expected."""
    try:
        yield
    except BoltzflowError:
        raise
    except Exception as error:
        raise FileFormatError(f"Expected {expected}; reading it failed: {one_line(error)}.") from None
