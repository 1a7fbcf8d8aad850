"""Minimises a structure, reproducibly."""

from __future__ import annotations

from typing import NamedTuple

import openmm
import openmm.unit as u

_TOLERANCE = 10.0  # kJ/mol/nm, of the minimised forces


class Minimum(NamedTuple):
    """A minimised structure."""

    energy: float  # kJ/mol
    positions: u.Quantity


def minimised(system: openmm.System, positions: u.Quantity) -> Minimum:
    """The energy minimum near these positions."""
    platform = openmm.Platform.getPlatformByName("Reference")  # slow, but deterministic
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, _TOLERANCE)
    state = context.getState(getPositions=True, getEnergy=True)
    return Minimum(state.getPotentialEnergy().value_in_unit(u.kilojoule_per_mole), state.getPositions())
