"""Which function translates which OpenMM force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openmm

from boltzflow.energies.forcefield.bonded import harmonic_angles, harmonic_bonds, periodic_torsions
from boltzflow.energies.forcefield.implicit_solvent import custom_gb, gbsa_obc
from boltzflow.energies.forcefield.nonbonded import nonbonded
from boltzflow.energies.forcefield.term import Term, unsupported
from boltzflow.errors import UnsupportedForceError


def _no_terms(_force: openmm.Force, _n_atoms: int) -> list[Term]:
    """A force without energy."""
    return []


TRANSLATORS: dict[str, Callable[[Any, int], list[Term]]] = {
    "HarmonicBondForce": harmonic_bonds,
    "HarmonicAngleForce": harmonic_angles,
    "PeriodicTorsionForce": periodic_torsions,
    "NonbondedForce": nonbonded,
    "CustomGBForce": custom_gb,
    "GBSAOBCForce": gbsa_obc,
    "CMMotionRemover": _no_terms,
}
"""From the class name of a force to ``translate(force, n_atoms) -> terms``."""


def translate(system: openmm.System) -> list[Term]:
    """The native terms of an ``openmm.System``.

    Raises:
        UnsupportedForceError: naming the force that has no translation, and why.
    """
    virtual = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if virtual:
        raise UnsupportedForceError(
            f"Particle {virtual[0]} is a virtual site, which the native torch terms do not place."
        )
    terms: list[Term] = []
    for force in system.getForces():
        translator = TRANSLATORS.get(type(force).__name__)
        if translator is None:
            raise unsupported(force, f"only {', '.join(TRANSLATORS)} are translated")
        terms += translator(force, system.getNumParticles())
    return terms
