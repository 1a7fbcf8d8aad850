"""Potentials for a few evaluations."""

from __future__ import annotations

import openmm

from boltzflow.energies import OpenMMPotential, Potential, TorchPotential
from boltzflow.errors import UnsupportedForceError


def eager_potential(system: openmm.System) -> Potential:
    """The native potential, ready at once because nothing is compiled, or OpenMM's where it has no translation.

    Either is as exact as its input: of OpenMM it is the Reference platform.
    """
    try:
        return TorchPotential(system, compile=False)
    except UnsupportedForceError:
        return OpenMMPotential(system, platform="Reference")
