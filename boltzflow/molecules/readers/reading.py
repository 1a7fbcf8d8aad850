"""Shared functions of the readers: they call OpenMM's readers and explain errors. No System has a cutoff or a box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import openmm
import openmm.unit as u
from openmm import app

from boltzflow.errors import BoltzflowError, FileFormatError, OptionError, SystemNotFoundError
from boltzflow.molecules.forcefields import one_line
from boltzflow.molecules.parametrize import CONSTRAINTS, Constraints
from boltzflow.molecules.readers.structures import read_structure

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
    """The parts of a molecular system."""

    topology: app.Topology
    system: openmm.System
    positions: u.Quantity


def read_structure_file(path: str | Path, kind: Literal["PDB", "mmCIF"]) -> app.PDBFile | app.PDBxFile:
    """The first model of a structure file; see `read_structure`.

    Raises:
        SystemNotFoundError: if the file does not exist.
        FileFormatError: if it is damaged or has another format.
    """
    return read_file(path, lambda path: read_structure(Path(path), kind), "a PDB" if kind == "PDB" else "an mmCIF")


def system_options(constraints: Constraints | None) -> dict[str, Any]:
    """The options for OpenMM's `createSystem`."""
    constraints = constraints or "none"
    if constraints not in CONSTRAINTS:
        raise OptionError(f"Expected one of the constraints {', '.join(CONSTRAINTS)}; got {constraints!r}.")
    return {
        "nonbondedMethod": app.NoCutoff,
        "constraints": CONSTRAINTS[constraints],
        "rigidWater": constraints != "none",
        "removeCMMotion": False,
    }


def solvent_model(name: ImplicitSolvent) -> Any:
    """OpenMM's model of an implicit solvent."""
    if name not in _SOLVENTS:
        raise OptionError(f"Expected one of the implicit solvents {', '.join(_SOLVENTS)}; got {name!r}.")
    return _SOLVENTS[name]


def require(path: str | Path) -> None:
    """Raise a SystemNotFoundError if the file does not exist."""
    if not Path(path).is_file():
        raise SystemNotFoundError(f"No such file: {path}.")


def read_file(path: str | Path, reader: Callable[[str], Read], kind: str) -> Read:
    """Read a file of some `kind` with one of OpenMM's readers."""
    require(path)
    with explained(f"{kind} file in {path}"):
        return reader(str(path))


@contextmanager
def explained(expected: str) -> Iterator[None]:
    """Convert any exception of OpenMM's readers into an error that says what was expected."""
    try:
        yield
    except BoltzflowError:
        raise
    except Exception as error:
        raise FileFormatError(f"Expected {expected}; reading it failed: {one_line(error)}.") from None
