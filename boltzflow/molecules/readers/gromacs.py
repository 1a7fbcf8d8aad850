"""Reads GROMACS files."""

from __future__ import annotations

import warnings
from pathlib import Path

from openmm import app

from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.fit import check_positions
from boltzflow.molecules.readers.reading import (
    Parts,
    explained,
    read_file,
    system_options,
)


def from_gromacs(
    top: str | Path, gro: str | Path, include_folder: str | Path | None, constraints: Constraints | None
) -> Parts:
    """Read a molecule from a GROMACS topology, with all files that it includes, and a structure."""
    folder = None if include_folder is None else str(include_folder)
    options = system_options(constraints)
    parameters = read_file(top, lambda path: app.GromacsTopFile(path, includeDir=folder), "a GROMACS top")
    structure = read_file(gro, app.GromacsGroFile, "a GROMACS gro")
    if structure.getNumFrames() > 1:
        warnings.warn(f"{gro} contains {structure.getNumFrames()} frames; the first one is read.", stacklevel=3)
    names = list(zip(structure.residueNames, structure.atomNames, strict=True))
    check_positions(parameters.topology, structure.positions, names, top, gro)
    with explained(f"GROMACS parameters that OpenMM can use in {top}"):
        system = parameters.createSystem(**options)
    return Parts(parameters.topology, system, structure.positions)
