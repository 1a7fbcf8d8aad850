"""Reads Amber files."""

from __future__ import annotations

from pathlib import Path

from openmm import app

from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.fit import check_positions
from boltzflow.molecules.readers.reading import (
    ImplicitSolvent,
    Parts,
    explained,
    read_file,
    solvent_model,
    system_options,
)


def from_amber(
    prmtop: str | Path, coordinates: str | Path, implicit_solvent: ImplicitSolvent, constraints: Constraints | None
) -> Parts:
    """Read a molecule from Amber's parameters and topology, and its coordinates."""
    options = {**system_options(constraints), "implicitSolvent": solvent_model(implicit_solvent)}
    parameters = read_file(prmtop, app.AmberPrmtopFile, "an Amber prmtop")
    positions = read_file(coordinates, app.AmberInpcrdFile, "an Amber coordinate").positions
    check_positions(parameters.topology, positions, None, prmtop, coordinates)
    with explained(f"Amber parameters that OpenMM can use in {prmtop}"):
        system = parameters.createSystem(**options)
    return Parts(parameters.topology, system, positions)
