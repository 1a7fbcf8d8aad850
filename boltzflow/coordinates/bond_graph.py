"""The bond graph of one or several molecules: connected parts, rings, distances along bonds."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from functools import cache

import networkx
import torch
from torch import Tensor

from boltzflow.errors import TopologyError


class BondGraph:
    """Atoms and their bonds.

    Attributes:
        neighbours: the bonded atoms of each atom, in ascending order.
        numbers: atomic numbers.
        names: for messages; the part after the last "-" identifies backbone atoms.

    Args:
        bonds: pairs of atom indices.
        numbers: one for each atom.
        names: one for each atom.

    Raises:
        TopologyError: if a bond does not join two of the atoms.
    """

    def __init__(self, bonds: Iterable[tuple[int, int]], numbers: Sequence[int], names: Sequence[str]) -> None:
        n = len(names)
        self.numbers, self.names = numbers, names
        self._graph = networkx.empty_graph(n)
        for i, j in bonds:
            if not (0 <= i < n and 0 <= j < n) or i == j:
                raise TopologyError(f"Expected bonds between two of the {n} atoms; got ({i}, {j}).")
            self._graph.add_edge(i, j)
        self.neighbours = [sorted(self._graph[i]) for i in range(n)]
        self.ring = cache(self._ring)

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Pairs i < j of atoms, ascending."""
        return [(i, j) for i, linked in enumerate(self.neighbours) for j in linked if i < j]

    @property
    def ring_bonds(self) -> frozenset[frozenset[int]]:
        """The bonds that are part of a ring, as sets of two atoms.

        >>> graph = BondGraph([(0, 1), (1, 2), (2, 0), (2, 3)], [6] * 4, ["C"] * 4)
        >>> sorted(map(sorted, graph.ring_bonds))
        [[0, 1], [0, 2], [1, 2]]
        """
        return frozenset(map(frozenset, self._graph.edges)) - frozenset(map(frozenset, networkx.bridges(self._graph)))

    def distances(
        self, start: int, without: tuple[int, int] = (-1, -1), within: Collection[int] | None = None
    ) -> dict[int, int]:
        """The number of bonds from `start` to each atom that can be reached.

        without: a bond to ignore; within: the only atoms to pass through, all if None.
        """
        found = {start: 0}
        queue = deque([start])
        while queue:
            atom = queue.popleft()
            for other in self.neighbours[atom]:
                allowed = within is None or other in within
                if allowed and other not in found and {atom, other} != set(without):
                    found[other] = found[atom] + 1
                    queue.append(other)
        return found

    def parts(self, within: Collection[int] | None = None) -> list[list[int]]:
        """The connected parts, largest first, then by lowest index."""
        graph = self._graph if within is None else self._graph.subgraph(within)
        return sorted(map(sorted, networkx.connected_components(graph)), key=lambda part: (-len(part), part[0]))

    def is_backbone(self, atom: int) -> bool:
        """Whether the name is that of a peptide backbone atom."""
        return self.names[atom].rsplit("-", 1)[-1] in ("N", "CA", "C")

    def _ring(self, a: int, b: int) -> tuple[int, ...]:
        """The atoms of a smallest ring through the bond a–b, from a around the ring to b; empty if there is none."""
        left = self.distances(b, without=(a, b))
        if a not in left:
            return ()
        path = [a]
        while path[-1] != b:
            path.append(
                min(x for x in self.neighbours[path[-1]] if left[x] == left[path[-1]] - 1 and (path[-1], x) != (a, b))
            )
        return tuple(path)

    def changes_pucker(self, torsion: Sequence[int]) -> bool:
        """Whether a torsion of four atoms bends a flexible ring: about a bond of a ring that is not flat.

        A ring of four or more atoms counts as flexible if one of them has four neighbours.
        """
        _, parent, grandparent, reference = torsion
        if reference not in self.neighbours[grandparent]:
            return False  # measured from a neighbour of the same atom
        ring = self.ring(parent, grandparent)
        return len(ring) > 3 and any(len(self.neighbours[atom]) == 4 for atom in ring)

    def nearest(self, part: Sequence[int], rest: Sequence[int], positions: Tensor) -> tuple[int, int, float]:
        """The closest atoms of two sets, and their distance in nm."""
        apart = torch.cdist(positions[list(part)], positions[list(rest)])
        i, j = divmod(int(apart.argmin()), len(rest))
        return part[i], rest[j], float(apart.min())
