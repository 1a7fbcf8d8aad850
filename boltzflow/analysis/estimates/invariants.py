"""Features of structures that do not change when equivalent atoms are exchanged, and structures that share them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.analysis.estimates.internals import bonded_chains
from boltzflow.arrays import Array
from boltzflow.coordinates.automorphisms import atom_classes
from boltzflow.coordinates.bond_graph import BondGraph

_LENGTH = 0.15  # nm that count as much as one radian: about the length of a bond
_ALIKE = 0.15  # in units of radians


class Invariants:
    """Distances and torsions that are sorted among equivalent atoms; rotation and translation do not change them.

    Equivalent atoms are those that automorphisms of the bond graph exchange, such as the hydrogens of a methyl group or
    the carbons of cyclohexane. Sines of torsions distinguish mirror images.

    Args:
        graph: bonds and elements.
        topology: of the same atoms.
    """

    def __init__(self, graph: BondGraph, topology: mdtraj.Topology) -> None:
        self.topology = topology
        kind = atom_classes(graph.neighbours, graph.numbers)
        _, angles, torsions = bonded_chains(topology)
        near = {frozenset(pair) for pair in graph.bonds} | {frozenset((i, k)) for i, _, k in angles}
        n = len(kind)
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if frozenset((i, j)) not in near]
        self.pairs = _Sorted(pairs, [tuple(sorted((kind[i], kind[j]))) for i, j in pairs])
        kinds = [tuple(kind[atom] for atom in chain) for chain in torsions]
        self.torsions = _Sorted(torsions, [min(chain, chain[::-1]) for chain in kinds])

    def __call__(self, positions: Array) -> NDArray[np.float32]:
        """Features (n, k) in units of radians, of positions (n, N, 3) in nm."""
        frames = mdtraj.Trajectory(positions, self.topology)
        columns = []
        if len(self.pairs.members):
            apart = mdtraj.compute_distances(frames, self.pairs.members, periodic=False)
            columns.append(self.pairs.sort(apart / _LENGTH))
        if len(self.torsions.members):
            angles = mdtraj.compute_dihedrals(frames, self.torsions.members, periodic=False)
            columns += [self.torsions.sort(np.cos(angles)), self.torsions.sort(np.sin(angles))]
        return np.hstack([np.zeros((len(positions), 0), np.float32), *columns])


class _Sorted:
    """Groups of atoms, of which those of one class are exchanged with one another."""

    def __init__(self, members: Sequence[tuple[int, ...]], keys: Iterable[Hashable]) -> None:
        self.members = np.array(members, np.int64)
        by_key: dict[Hashable, list[int]] = {}
        for column, key in enumerate(keys):
            by_key.setdefault(key, []).append(column)
        self.classes = list(by_key.values())

    def sort(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns of each class in ascending order in every row."""
        found = values.copy()
        for columns in self.classes:
            found[:, columns] = np.sort(values[:, columns], axis=1)
        return found


def alike(features: NDArray[np.float32], energies: Array, energy_tolerance: float) -> NDArray[np.int64]:
    """Groups of structures that agree with the one of lowest energy in the group, (n,): its index for each structure.

    Structures agree if no torsion differs by more than about 9°, no distance by more than 0.02 nm, and the energy not
    by more than `energy_tolerance` in kJ/mol.

    >>> alike(np.array([[0.0], [0.1], [1.0]], np.float32), np.array([2.0, 1.0, 0.0]), 5.0)
    array([1, 1, 2])
    """
    leader = np.full(len(features), -1)
    for one in np.argsort(energies, kind="stable"):
        if leader[one] < 0:
            rest = np.flatnonzero((leader < 0) & (energies <= energies[one] + energy_tolerance))
            near = (np.abs(features[rest] - features[one]) < _ALIKE).all(1)
            leader[rest[near]] = one
    return leader
