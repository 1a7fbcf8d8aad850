"""Bonds that a topology lacks, and bonds that are no bonds."""

from __future__ import annotations

import math
import warnings

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app

from boltzflow.molecules.parameters import bond_terms, constraints

_RADII = {
    "H": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057, "Si": 0.111, "P": 0.107, "S": 0.105,
    "Cl": 0.102, "Se": 0.120, "Br": 0.120, "I": 0.139,
}  # fmt: skip
"""Covalent radii in nm (Cordero et al. 2008, doi 10.1039/b801115j); no other element gets bonds from distances."""

_LONGEST = 1.3  # of a bond, in units of the sum of its atoms' radii
_GAP = 2.0  # from which on it is none, in the same units


def add_missing_bonds(topology: app.Topology, system: openmm.System, positions: NDArray[np.float64]) -> None:
    """Adds to a topology the bonds that the System's terms and the distances speak for; with a warning.

    A pair with a harmonic bond or a constraint is bonded if it is as close as bonded atoms are (which the terms
    between neighbours of one atom are not). Where there are no such terms, as with a machine-learned potential, and the
    topology has no bond at all, distances decide alone.
    """
    atoms = list(topology.atoms())
    known = {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds()}
    candidates = [(i, j) for i, j, _, _ in bond_terms(system)] + [(i, j) for i, j, _ in constraints(system)]
    if not candidates and not known:
        first, second = np.triu_indices(len(atoms), 1)
        near = np.linalg.norm(positions[first] - positions[second], axis=1) < 2 * _LONGEST * max(_RADII.values())
        candidates = list(zip(first[near].tolist(), second[near].tolist(), strict=True))
    found = [
        (i, j)
        for i, j in candidates
        if frozenset((i, j)) not in known and _stretch(atoms[i], atoms[j], positions) < _LONGEST
    ]
    for i, j in found:
        topology.addBond(atoms[i], atoms[j])
    if found:
        names = ", ".join(f"{label(atoms[i])}–{label(atoms[j])}" for i, j in found[:3])
        warnings.warn(
            f"{len(found)} bonds that the topology lacks were added, for the energy terms or the distances say so: "
            f"{names}{', …' if len(found) > 3 else ''}.",
            stacklevel=3,
        )


def stretched_bond(topology: app.Topology, positions: object) -> tuple[str, str, float] | None:
    """The first bond of the topology that is far too long: names of its atoms and their distance in nm."""
    x = np.asarray(positions, dtype=np.float64)
    for bond in topology.bonds():
        if _GAP < _stretch(bond.atom1, bond.atom2, x) < math.inf:
            distance = float(np.linalg.norm(x[bond.atom1.index] - x[bond.atom2.index]))
            return label(bond.atom1), label(bond.atom2), distance
    return None


def label(atom: app.topology.Atom) -> str:
    """A name such as ALA2-CA."""
    return f"{atom.residue.name}{atom.residue.id}-{atom.name}"


def _stretch(one: app.topology.Atom, other: app.topology.Atom, x: NDArray[np.float64]) -> float:
    """The distance of two atoms in units of a bond's usual length; infinite for elements without a radius."""
    radii = [_RADII.get(atom.element.symbol, 0.0) if atom.element else 0.0 for atom in (one, other)]
    if min(radii) == 0.0:
        return math.inf
    return float(np.linalg.norm(x[one.index] - x[other.index])) / sum(radii)
