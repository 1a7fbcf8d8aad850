"""What all readers share: files through OpenMM's own, whose errors say what was expected. Without cutoff or box."""

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
    """What a molecular system is made from."""

    topology: app.Topology
    system: openmm.System
    positions: u.Quantity


def read_molecule(path: str | Path, kind: Literal["PDB", "mmCIF"]) -> app.PDBFile | app.PDBxFile:
    """The first model of a structure file; see `read_structure`.

    Raises:
        SystemNotFoundError: if there is no such file.
        FileFormatError: if it is damaged or of another kind.
    """
    return read_file(path, lambda path: read_structure(Path(path), kind), "a PDB" if kind == "PDB" else "an mmCIF")


def system_options(constraints: Constraints | None) -> dict[str, Any]:
    """What `createSystem` of a file's parameters is asked for."""
    constraints = constraints or "none"
    if constraints not in CONSTRAINTS:
        raise OptionError(f"Expected constraints {', '.join(CONSTRAINTS)}; got {constraints!r}.")
    return {
        "nonbondedMethod": app.NoCutoff,
        "constraints": CONSTRAINTS[constraints],
        "rigidWater": constraints != "none",
        "removeCMMotion": False,
    }


def solvent_model(name: ImplicitSolvent) -> Any:
    """OpenMM's model of an implicit solvent."""
    if name not in _SOLVENTS:
        raise OptionError(f"Expected implicit solvent {', '.join(_SOLVENTS)}; got {name!r}.")
    return _SOLVENTS[name]


def require(path: str | Path) -> None:
    """Raise unless a file is there."""
    if not Path(path).is_file():
        raise SystemNotFoundError(f"No such file: {path}.")


def read_file(path: str | Path, reader: Callable[[str], Read], kind: str) -> Read:
    """What a reader of OpenMM makes of a file of some `kind`."""
    require(path)
    with explained(f"{kind} file in {path}"):
        return reader(str(path))


@contextmanager
def explained(expected: str) -> Iterator[None]:
    """Turns what OpenMM's readers raise, which may be any of Python's errors, into one that says what was expected."""
    try:
        yield
    except BoltzflowError:
        raise
    except Exception as error:
        raise FileFormatError(f"Expected {expected}; reading it failed: {one_line(error)}.") from None
