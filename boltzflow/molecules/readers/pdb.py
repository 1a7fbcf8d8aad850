"""Reads PDB and mmCIF files, and parametrises them with a force field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from openmm import app

from boltzflow.molecules.parametrize import Constraints, create_system
from boltzflow.molecules.readers.fit import check_structure
from boltzflow.molecules.readers.hydrogens import with_hydrogens
from boltzflow.molecules.readers.reading import (
    Parts,
    read_structure_file,
)


def from_structure(
    path: str | Path,
    kind: Literal["PDB", "mmCIF"],
    field: app.ForceField,
    files: Sequence[str],
    constraints: Constraints | None,
    hydrogens_at_ph: float | None = None,
) -> Parts:
    """Read a structure file of `kind` and parametrise it with these force-field files."""
    structure = read_structure_file(path, kind)
    topology, positions = structure.topology, structure.positions
    check_structure(topology, positions, path)
    if hydrogens_at_ph is not None:
        topology, positions = with_hydrogens(topology, positions, field, hydrogens_at_ph)
    return Parts(topology, create_system(topology, field, files, constraints), positions)
