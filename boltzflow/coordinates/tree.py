"""From a bond graph to the rows of a z-matrix: in which order, and relative to which atoms, each atom is placed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor

from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.geometry import angle
from boltzflow.errors import TopologyError

Row = tuple[int, int, int, int]

NEARLY_STRAIGHT = 0.02
"""So close to a line, in rad, a structure gives no plane to start from."""


class Tree:
    """A spanning tree of the bond graph, grown breadth-first from the middle, with links between its parts.

    Args:
        graph: the bonds.
        positions: the reference structure (N, 3), nm: a part is linked to the closest of the core's atoms.
        core: atoms that are placed before all others, from one another alone; empty for no such atoms.
        is_linear: whether three atoms (end, middle, end) lie on a line.

    Attributes:
        links: (head of a part, atom that it hangs on): where the tree has an edge but the molecules no bond.

    Raises:
        TopologyError: if all atoms lie on a line.
    """

    def __init__(
        self, graph: BondGraph, positions: Tensor, core: Collection[int], is_linear: Callable[[int, int, int], bool]
    ) -> None:
        self._graph, self._positions, self._is_linear = graph, positions, is_linear
        self._core = frozenset(core)
        self._neighbours = [list(linked) for linked in graph.neighbours]
        self.links: list[tuple[int, int]] = []
        self.root = self._join()
        self._parent = self._grow()
        self._children = self._sorted_children()

    def rows(self) -> tuple[Row, ...]:
        """(atom, parent, grandparent, reference) of each atom, each placed from earlier ones; −1 in the first three."""
        root, parent, children = self.root, self._parent, self._children
        first, *others = children[root]
        bent = [atom for atom in others if self._is_link(root, atom) or not self._is_linear(first, root, atom)]
        # Of a molecule that is linear alone the angle is a coordinate, if the structure says in which plane it lies.
        bent = bent or [atom for atom in others if self._angle(first, root, atom) < math.pi - NEARLY_STRAIGHT]
        if not bent:
            on_line = (first, root, *others)
            raise TopologyError(
                f"Expected atoms that do not all lie on a line; got {' '.join(self._graph.names[a] for a in on_line)}: "
                "a linear molecule alone has no internal coordinates."
            )
        second, *others = self._bent_first(others, root, first, bent[0])
        rows: list[Row] = [(root, -1, -1, -1), (first, root, -1, -1), (second, root, first, -1)]
        rows += [(atom, root, first, second) for atom in others]
        # Seen from the first child, the root is a child like any other: the tree hangs on the seed's first bond.
        parent[root] = first
        across = {
            first: second
        }  # to the children of a first child, its sibling is what its parent's parent is to others
        for atom, *_ in rows:  # grows as it is read: breadth-first
            if atom == root or not children[atom]:
                continue
            grandparent = parent[atom]
            carrier, *siblings = self._bent_first(children[atom], atom, grandparent)
            rows.append((carrier, atom, grandparent, across.get(atom, parent[grandparent])))
            if siblings and self._is_link(atom, grandparent) and not self._is_link(carrier, atom):
                # The head of a part: nothing but its first child is placed by the link, the rest as in a seed.
                second, *siblings = siblings
                rows.append((second, atom, carrier, grandparent))
                rows.extend((sibling, atom, carrier, second) for sibling in siblings)
                parent[atom], across[carrier] = carrier, second
            else:
                rows.extend((sibling, atom, grandparent, carrier) for sibling in siblings)
        return tuple(sorted(rows, key=levels(rows).__getitem__))

    def _bent_first(self, atoms: Sequence[int], centre: int, seen_from: int, chosen: int = -1) -> list[int]:
        """Atoms around a centre, those on a line with an atom at its other side last; a chosen one is the first of all.

        What the others are placed by must have a direction of its own.
        """

        def is_linear(atom: int) -> bool:
            return not (self._is_link(centre, atom) or self._is_link(centre, seen_from)) and self._is_linear(
                atom, centre, seen_from
            )

        return sorted(atoms, key=lambda atom: (atom != chosen, is_linear(atom)))

    def _angle(self, i: int, j: int, k: int) -> float:
        return float(angle(*self._positions[[i, j, k]]))

    def _is_link(self, a: int, b: int) -> bool:
        return b not in self._graph.neighbours[a]

    # -- one tree of all parts ---------------------------------------------------------------------

    def _join(self) -> int:
        """Links all parts to the first of them, the parts of the core among themselves; the root."""
        graph, core = self._graph, self._core
        main, *parts = graph.parts(within=core or None)
        root = self._middle(main)
        for part in parts:
            self._link(self._middle(part), root)
        if core:
            for part in graph.parts():
                if core.isdisjoint(part):
                    head = self._middle(part)
                    self._link(head, graph.nearest([head], sorted(core), self._positions)[1])
        return root

    def _link(self, head: int, anchor: int) -> None:
        self.links.append((head, anchor))
        self._neighbours[head].append(anchor)
        self._neighbours[anchor].append(head)

    def _middle(self, part: Sequence[int]) -> int:
        """The atom of a part with the least depth, then the best carrier; if possible one where bonds form an angle."""
        graph = self._graph

        within = set(part)

        def is_bent(atom: int) -> bool:
            linked = [a for a in graph.neighbours[atom] if a in within]
            return any(not self._is_linear(linked[0], atom, other) for other in linked[1:])

        inner = [a for a in part if is_bent(a)] or list(part)
        depth = {a: max(graph.distances(a, within=within).values()) for a in inner}
        return min(inner, key=lambda a: (depth[a], not graph.is_backbone(a), -graph.numbers[a], a))

    def _grow(self) -> dict[int, int]:
        """The parent of each atom, atoms in breadth-first order; the core's before all others."""
        parent = {self.root: -1}
        for allowed in (self._core, range(len(self._neighbours))):
            queue = deque(parent)
            while queue:
                atom = queue.popleft()
                for other in sorted(self._neighbours[atom], key=self._preference):
                    if other not in parent and other in allowed:
                        parent[other] = atom
                        queue.append(other)
        return parent

    def _preference(self, atom: int) -> tuple[bool, int, int]:
        return (not self._graph.is_backbone(atom), -self._graph.numbers[atom], atom)

    def _sorted_children(self) -> list[list[int]]:
        """The children of each atom, the best carrier first: the core's, then bonded ones before links."""
        graph, parent = self._graph, self._parent
        children: list[list[int]] = [[] for _ in graph.names]
        reach = [int(number > 1) for number in graph.numbers]  # heavy atoms on the longest chain that starts here
        for atom in reversed(parent):
            children[atom].sort(
                key=lambda a: (
                    a not in self._core,
                    self._is_link(atom, a),
                    not graph.is_backbone(a),
                    -reach[a],
                    not children[a],
                    -graph.numbers[a],
                    a,
                )
            )
            if atom != self.root:
                children[parent[atom]].append(atom)
                if not self._is_link(atom, parent[atom]):
                    reach[parent[atom]] = max(reach[parent[atom]], reach[atom] + 1)
        return children


def levels(rows: Sequence[Row]) -> dict[Row, int]:
    """The level of each row: one more than that of the row whose frame it is placed from; the first two have 0."""
    row_of = {row[0]: row for row in rows}
    found = dict.fromkeys(rows[:2], 0)
    for row in rows[2:]:
        found[row] = found[row_of[frame_of(row_of, row)]] + 1
    return found


def frame_of(row_of: Mapping[int, Row], row: Row) -> int:
    """The atom whose frame an atom is placed from: its parent, or its grandparent if that is its parent's child."""
    _, parent, grandparent, _ = row
    return grandparent if row_of[grandparent][1] == parent else parent
