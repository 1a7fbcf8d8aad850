"""Adds bonds that are missing from a topology, and measures bond lengths."""

from __future__ import annotations

import math
import warnings

import numpy as np
import openmm
from openmm import app

from boltzflow.arrays import Array
from boltzflow.molecules.parameters import bond_terms, constraints

_RADII = {
    "H": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057, "Si": 0.111, "P": 0.107, "S": 0.105,
    "Cl": 0.102, "Se": 0.120, "Br": 0.120, "I": 0.139,
}  # fmt: skip
"""Covalent radii in nm (Cordero et al. 2008, doi 10.1039/b801115j). Only these elements get bonds from distances."""

LONGEST = 1.3
"""Longest bond, in units of the sum of the two covalent radii. Two neighbours of one atom are farther apart."""

_HYDROGEN = {app.element.hydrogen}


def add_missing_bonds(topology: app.Topology, system: openmm.System, positions: Array) -> None:
    """Add missing bonds to a topology, from the System's terms and the distances; warns if any is added.

    A pair with a harmonic bond or a constraint is bonded if it is as close as bonded atoms are. (Two neighbours of one
    atom may have such a term too, but they are farther apart.) If there are no such terms, as with a machine-learned
    potential, and the topology has no bonds at all, the distances alone decide.
    """
    atoms = list(topology.atoms())
    known = {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds()}
    candidates = [(i, j) for i, j, _, _ in bond_terms(system)] + [(i, j) for i, j, _ in constraints(system)]
    if not candidates and not known:
        first, second = np.triu_indices(len(atoms), 1)
        near = np.linalg.norm(positions[first] - positions[second], axis=1) < 2 * LONGEST * max(_RADII.values())
        candidates = list(zip(first[near].tolist(), second[near].tolist(), strict=True))
    found = [
        (i, j)
        for i, j in candidates
        if frozenset((i, j)) not in known and _stretch(atoms[i], atoms[j], positions) < LONGEST
    ]
    for i, j in found:
        topology.addBond(atoms[i], atoms[j])
    if found:
        names = ", ".join(f"{label(atoms[i])}–{label(atoms[j])}" for i, j in found[:3])
        warnings.warn(
            f"Added {len(found)} bonds missing from the topology, according to energy terms or distances: "
            f"{names}{', …' if len(found) > 3 else ''}.",
            stacklevel=3,
        )


def stretch_of_bonds(
    topology: app.Topology, positions: Array
) -> tuple[list[tuple[app.topology.Atom, app.topology.Atom]], Array]:
    """The bonds of a topology whose usual length is known, and their lengths in units of the usual length.

    The H–H bond that some files have in rigid water is not counted.
    """
    bonds = [
        (bond.atom1, bond.atom2)
        for bond in topology.bonds()
        if math.isfinite(usual_length(bond.atom1, bond.atom2)) and {bond.atom1.element, bond.atom2.element} != _HYDROGEN
    ]
    return bonds, np.array([_stretch(one, other, positions) for one, other in bonds])


def label(atom: app.topology.Atom) -> str:
    """A name such as ALA2-CA."""
    return f"{atom.residue.name}{atom.residue.id}-{atom.name}"


def usual_length(one: app.topology.Atom, other: app.topology.Atom) -> float:
    """The sum of two atoms' covalent radii, nm; infinite for elements without one."""
    radii = [_RADII.get(atom.element.symbol, math.inf) if atom.element else math.inf for atom in (one, other)]
    return sum(radii)


def _stretch(one: app.topology.Atom, other: app.topology.Atom, x: Array) -> float:
    """The distance of two atoms in units of the usual bond length; infinite for elements without a radius."""
    usual = usual_length(one, other)
    return math.inf if math.isinf(usual) else float(np.linalg.norm(x[one.index] - x[other.index])) / usual
