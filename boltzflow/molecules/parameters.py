"""Masses, the stiffness of bonds and angles, and constraints, read from an `openmm.System`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

import openmm
import openmm.unit as u

BondTerm = tuple[int, int, float, float]
"""Atoms i < j, equilibrium length in nm, force constant k in kJ/mol/nm² of U = k (b − b₀)² / 2."""

AngleTerm = tuple[int, int, int, float, float]
"""Atoms i, j, k with i < k, equilibrium angle in rad, force constant in kJ/mol/rad²."""

Atoms = TypeVar("Atoms")


def masses(system: openmm.System) -> list[float]:
    """The masses of all particles, in dalton; 0 for frozen atoms and virtual sites."""
    return [system.getParticleMass(i).value_in_unit(u.dalton) for i in range(system.getNumParticles())]


def bond_terms(system: openmm.System) -> list[BondTerm]:
    """All harmonic bonds; several terms on one bond are combined."""
    found: list[BondTerm] = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for index in range(force.getNumBonds()):
                i, j, length, k = force.getBondParameters(index)
                stiffness = k.value_in_unit(u.kilojoule_per_mole / u.nanometer**2)
                found.append((min(i, j), max(i, j), length.value_in_unit(u.nanometer), stiffness))
    return [(i, j, *sum_) for (i, j), sum_ in _added_up(((i, j), b, k) for i, j, b, k in found)]


def angle_terms(system: openmm.System) -> list[AngleTerm]:
    """All harmonic angles; several terms on one angle are combined."""
    found: list[AngleTerm] = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicAngleForce):
            for index in range(force.getNumAngles()):
                i, j, k, angle, stiffness = force.getAngleParameters(index)
                value = stiffness.value_in_unit(u.kilojoule_per_mole / u.radian**2)
                found.append((min(i, k), j, max(i, k), angle.value_in_unit(u.radian), value))
    return [(i, j, k, *sum_) for (i, j, k), sum_ in _added_up(((i, j, k), a, s) for i, j, k, a, s in found)]


def constraints(system: openmm.System) -> list[tuple[int, int, float]]:
    """All fixed distances: atoms i, j, and the distance in nm."""
    found = (system.getConstraintParameters(index) for index in range(system.getNumConstraints()))
    return [(i, j, distance.value_in_unit(u.nanometer)) for i, j, distance in found]


def _added_up(terms: Iterable[tuple[Atoms, float, float]]) -> list[tuple[Atoms, tuple[float, float]]]:
    """Combines parabolas on the same atoms; omits those with zero force constant."""
    parabolas: dict[Atoms, list[tuple[float, float]]] = {}
    for atoms, equilibrium, stiffness in terms:
        parabolas.setdefault(atoms, []).append((equilibrium, stiffness))
    sums = []
    for atoms, parts in parabolas.items():
        stiffness = math.fsum(k for _, k in parts)
        if stiffness > 0:
            sums.append((atoms, (math.fsum(x * k for x, k in parts) / stiffness, stiffness)))
    return sums
