"""Derives the rows of a z-matrix from a bond graph: the order of atoms, and the atoms from which each is placed."""

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
"""Deviation from a line, in rad, below which a structure defines no initial plane."""


class Tree:
    """A spanning tree of the bond graph, grown breadth-first from the middle, with links between molecules.

    Args:
        graph: the bonds.
        positions: the reference structure (N, 3), nm: a part is linked to the closest of the core's atoms.
        core: atoms that are placed before all others, only from each other; empty for no such atoms.
        is_linear: whether three atoms (end, middle, end) are collinear.

    Attributes:
        links: (head of a part, atom from which it is placed): edges of the tree that are not bonds.

    Raises:
        TopologyError: if all atoms are collinear.
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
        """(atom, parent, grandparent, reference) for each atom, placed from earlier ones; −1 if missing."""
        root, parent, children = self.root, self._parent, self._children
        first, *others = children[root]
        bent = [atom for atom in others if self._is_link(root, atom) or not self._is_linear(first, root, atom)]
        # In a single linear molecule the angle is a coordinate, if the structure defines the plane.
        bent = bent or [atom for atom in others if self._angle(first, root, atom) < math.pi - NEARLY_STRAIGHT]
        if not bent:
            on_line = (first, root, *others)
            raise TopologyError(
                f"Expected atoms that are not all collinear; got {' '.join(self._graph.names[a] for a in on_line)}: "
                "a single linear molecule has no internal coordinates."
            )
        second, *others = self._bent_first(others, root, first, bent[0])
        rows: list[Row] = [(root, -1, -1, -1), (first, root, -1, -1), (second, root, first, -1)]
        rows += [(atom, root, first, second) for atom in others]
        # Viewed from the first child, the root is an ordinary child: the tree is built on the seed's first bond.
        parent[root] = first
        across = {first: second}  # the children of a first child use its sibling in place of the parent's parent
        for atom, *_ in rows:  # grows during the loop: breadth-first
            if atom == root or not children[atom]:
                continue
            grandparent = parent[atom]
            carrier, *siblings = self._bent_first(children[atom], atom, grandparent)
            rows.append((carrier, atom, grandparent, across.get(atom, parent[grandparent])))
            if siblings and self._is_link(atom, grandparent) and not self._is_link(carrier, atom):
                # The head of a part: only its first child is placed by the link, the others as in a seed.
                second, *siblings = siblings
                rows.append((second, atom, carrier, grandparent))
                rows.extend((sibling, atom, carrier, second) for sibling in siblings)
                parent[atom], across[carrier] = carrier, second
            else:
                rows.extend((sibling, atom, grandparent, carrier) for sibling in siblings)
        return tuple(sorted(rows, key=levels(rows).__getitem__))

    def _bent_first(self, atoms: Sequence[int], centre: int, seen_from: int, chosen: int = -1) -> list[int]:
        """Atoms around a centre; those collinear with the atom on its other side come last, a chosen one first.

        The atom that places the others must not be collinear with the bond.
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
        """Links all parts to the first part, and the parts of the core to each other; returns the root."""
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
        """The atom of a part with the smallest depth, then the best carrier; preferably not the middle of a line."""
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
        """The children of each atom, best carrier first: core atoms, then bonded atoms, then links."""
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
    """The level of each row: one more than that of the row whose frame places it; 0 for the first two."""
    row_of = {row[0]: row for row in rows}
    found = dict.fromkeys(rows[:2], 0)
    for row in rows[2:]:
        found[row] = found[row_of[frame_of(row_of, row)]] + 1
    return found


def frame_of(row_of: Mapping[int, Row], row: Row) -> int:
    """The atom whose frame places an atom: its parent, or its grandparent if that is a child of its parent."""
    _, parent, grandparent, _ = row
    return grandparent if row_of[grandparent][1] == parent else parent
