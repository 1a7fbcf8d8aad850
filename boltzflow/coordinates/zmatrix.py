"""From a bond graph to a z-matrix: which atoms each atom is placed by, and what its torsion may be."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.coordinates.geometry import angle, dihedral, distance
from boltzflow.core.domain import Coordinate
from boltzflow.errors import NonFiniteError, ShapeError, TopologyError

Row = tuple[int, int, int, int]

LARGEST_ANGLE = math.radians(170.0)
"""A wider angle in the reference structure counts as linear."""

_THIRD = 2 * math.pi / 3
_HALF = math.pi / 2
_HALF_OF_THIRD = 5 * math.pi / 12  # 75°: the most that keeps three siblings in order when the second is free by 90°
_HALF_INVERTING = 3 * math.pi / 4
_OPPOSITE = math.radians(150.0)  # a sibling turned further than this from its carrier lies opposite to it
_SMALL_RING = 6  # up to this size the intervals of a ring's torsions are centred on the flat ring


@dataclass(frozen=True)
class ZMatrix:
    """How each atom is placed from atoms placed before it.

    A row is (atom, parent, grandparent, reference): the atom has a distance to its parent, an angle with
    parent and grandparent, and a torsion atom–parent–grandparent–reference. Missing entries of the first
    three rows (the seed) are −1. Rows stand in the order of levels: an atom's level is its number of bonds
    from the first atom, and it is placed from earlier levels alone.

    The children of one parent turn together about the bond parent–grandparent. The first of them carries
    this rotation: its reference is the grandparent's parent. The second has the first as its reference, so
    its torsion is the difference of both rotations. The third's is measured from the bisector of the first
    two: its difference to the first, less half of the second's. Further ones are like the second.

    Attributes:
        names: the name of each atom.
        rows: one for each atom.
        torsions: kind, bounds (rad) and name of the torsion of each row from the fourth on.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    torsions: tuple[Coordinate, ...]

    @property
    def n_atoms(self) -> int:
        """The number of atoms N."""
        return len(self.names)

    @property
    def order(self) -> tuple[int, ...]:
        """The atoms in the order of placement."""
        return tuple(row[0] for row in self.rows)

    @property
    def companions(self) -> tuple[tuple[int, int], ...]:
        """For each row from the fourth on: the row of its carrier and that of its second sibling, −1 where not used."""
        return _companions(self.rows)


def _companions(rows: Sequence[Row]) -> tuple[tuple[int, int], ...]:
    children: dict[int, list[int]] = {}
    found = []
    for i, (_, parent, *_) in enumerate(rows[2:], 2):
        placed = children.setdefault(parent, [])
        found.append((placed[0] if placed else -1, placed[1] if len(placed) == 2 else -1))
        placed.append(i)
    return tuple(found[1:])


def measure(rows: Sequence[Row], positions: Tensor) -> tuple[list[float], list[float], list[float]]:
    """Lengths (N−1), angles (N−2) and torsions (N−3) of one structure (N, 3), row by row."""
    a, b, c, d = (positions[list(column)] for column in zip(*rows, strict=True))
    lengths = distance(a[1:], b[1:]).tolist()
    angles = angle(a[2:], b[2:], c[2:]).tolist()
    torsions = dihedral(a[3:], b[3:], c[3:], d[3:]).tolist()
    for i, (_, second) in enumerate(_companions(rows)):
        if second >= 0:
            torsions[i] -= torsions[second - 3] / 2
    return lengths, angles, torsions


def build_zmatrix(
    bonds: Sequence[tuple[int, int]], positions: Tensor, atomic_numbers: Sequence[int], names: Sequence[str]
) -> ZMatrix:
    """The z-matrix of one molecule, with exactly one circle for each rotatable bond.

    Rotatable is every bond outside rings whose two atoms both have further neighbours. The tree is grown
    breadth-first from the atom in the middle of the molecule, so that few levels are needed; the backbone
    of a peptide, then the longest chain of heavy atoms, carries the circles. A ring is opened at the bond
    farthest from that middle; torsions about ring bonds are intervals of half-width π/2 around the flat
    ring (up to 6 atoms: both puckers lie inside), in larger rings around the reference.

    Siblings of a carrier have intervals. At a centre of four neighbours the second is 120° ± 90° from the
    carrier, on the side that the reference structure says, and the third 180° ± 75° from the bisector of
    the two: so wide, and yet their order around the bond, that is chirality and the labels of hydrogens,
    cannot change (at the two ends of a ring's opened bond, the ring holds them). At a centre of three
    neighbours the sibling is 180° ± 90° from its carrier, at nitrogen, which inverts, ± 135°, at heavier
    elements (sulfoxides, phosphines) on its own side, 90° ± 90°.

    Args:
        bonds: pairs of atom indices.
        positions: reference structure (N, 3), nm: gives the handedness of each centre.
        atomic_numbers: one for each atom.
        names: one for each atom, such as "ALA2-CA"; the part after the last "-" tells the backbone.

    Raises:
        ShapeError: if positions, atomic numbers and names do not fit together.
        NonFiniteError: if a reference position is not finite; names the atom.
        TopologyError: if there are fewer than three atoms, a bond is not one, the molecule falls into
            parts, or an angle is linear; names the atoms.

    >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
    >>> build_zmatrix([(0, 1), (0, 2)], water, [8, 1, 1], ["O", "H1", "H2"]).rows
    ((0, -1, -1, -1), (1, 0, -1, -1), (2, 0, 1, -1))
    """
    positions = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    n = len(names)
    if positions.shape != (n, 3) or len(atomic_numbers) != n:
        raise ShapeError(
            f"Expected positions ({n}, 3) and {n} atomic numbers for {n} names; "
            f"got {tuple(positions.shape)} and {len(atomic_numbers)}."
        )
    broken = (~torch.isfinite(positions)).any(-1).nonzero().flatten().tolist()
    if broken:
        raise NonFiniteError(f"Expected finite reference positions; got some that are not for {names[broken[0]]}.")
    if n < 3:
        raise TopologyError(f"Expected at least 3 atoms for internal coordinates; got {n} ({', '.join(names)}).")
    graph = _Graph(bonds, atomic_numbers, names)
    graph.check_connected(positions)
    rows = graph.rows()
    _, angles, torsions = measure(rows, positions)
    for row, value in zip(rows[2:], angles, strict=True):
        if not math.pi - LARGEST_ANGLE < value < LARGEST_ANGLE:
            raise TopologyError(
                f"Expected bent angles; got {math.degrees(value):.1f}° for {' '.join(names[a] for a in row[:3])}: "
                "linear groups have no torsion."
            )
    described = zip(rows[3:], _companions(rows), torsions, strict=True)
    return ZMatrix(tuple(names), rows, tuple(graph.torsion(*row, positions) for row in described))


def ring_bonds(bonds: Sequence[tuple[int, int]], n_atoms: int) -> frozenset[frozenset[int]]:
    """The bonds that are part of a ring, as sets of two atoms.

    >>> sorted(map(sorted, ring_bonds([(0, 1), (1, 2), (2, 0), (2, 3)], 4)))
    [[0, 1], [0, 2], [1, 2]]
    """
    graph = _Graph(bonds, [0] * n_atoms, [""] * n_atoms)
    return frozenset(frozenset((i, j)) for i, j in bonds if i in graph.distances(j, without=(i, j)))


class _Graph:
    """The bond graph and its breadth-first tree."""

    def __init__(self, bonds: Sequence[tuple[int, int]], atomic_numbers: Sequence[int], names: Sequence[str]) -> None:
        n = len(names)
        self.numbers, self.names = atomic_numbers, names
        linked: list[set[int]] = [set() for _ in range(n)]
        for i, j in bonds:
            if not (0 <= i < n and 0 <= j < n) or i == j:
                raise TopologyError(f"Expected bonds between two of the {n} atoms; got ({i}, {j}).")
            linked[i].add(j)
            linked[j].add(i)
        self.neighbours = [sorted(s) for s in linked]

    # -- connectedness -----------------------------------------------------------------------------

    def distances(self, start: int, without: tuple[int, int] = (-1, -1)) -> dict[int, int]:
        """The number of bonds from `start` to each atom that can be reached, leaving one bond out."""
        found = {start: 0}
        queue = deque([start])
        while queue:
            atom = queue.popleft()
            for other in self.neighbours[atom]:
                if other not in found and {atom, other} != set(without):
                    found[other] = found[atom] + 1
                    queue.append(other)
        return found

    def check_connected(self, positions: Tensor) -> None:
        """Raise a TopologyError that names the two atoms between which a bond seems to be missing."""
        part = sorted(self.distances(0))
        rest = sorted(set(range(len(self.names))) - set(part))
        if rest:
            apart = torch.cdist(positions[part], positions[rest])
            i, j = divmod(int(apart.argmin()), len(rest))
            one, other = self.names[part[i]], self.names[rest[j]]
            raise TopologyError(
                f"Expected one molecule; no bonds lead from {one} to {other}, the closest atoms of two parts, "
                f"{float(apart.min()):.3f} nm apart. Add the missing bond, or take one molecule."
            )

    # -- tree --------------------------------------------------------------------------------------

    def rows(self) -> tuple[Row, ...]:
        """The rows in the order of levels."""
        root = self._root()
        parent = self._tree(root)
        children = self._children(parent, root)
        first, second, *others = children[root]
        rows: list[Row] = [(root, -1, -1, -1), (first, root, -1, -1), (second, root, first, -1)]
        rows += [(atom, root, first, second) for atom in others]
        # Seen from the first child, the root is a child like any other: the tree hangs on the seed's first bond.
        parent[root] = first
        for atom, *_ in rows:  # grows as it is read: breadth-first
            if atom == root or not children[atom]:
                continue
            grandparent = root if atom == first else parent[atom]
            reference = second if atom == first else parent[grandparent]
            carrier, *siblings = children[atom]
            rows.append((carrier, atom, grandparent, reference))
            rows.extend((sibling, atom, grandparent, carrier) for sibling in siblings)
        return tuple(rows)

    def _root(self) -> int:
        """The atom in the middle: least depth, then preferred as a carrier would be."""
        inner = [a for a, linked in enumerate(self.neighbours) if len(linked) > 1]
        depth = {a: max(self.distances(a).values()) for a in inner}
        return min(inner, key=lambda a: (depth[a], not self._is_backbone(a), -self.numbers[a], a))

    def _tree(self, root: int) -> dict[int, int]:
        """The parent of each atom, atoms in breadth-first order."""
        parent = {root: -1}
        queue = deque([root])
        while queue:
            atom = queue.popleft()
            for other in sorted(self.neighbours[atom], key=lambda a: (not self._is_backbone(a), -self.numbers[a], a)):
                if other not in parent:
                    parent[other] = atom
                    queue.append(other)
        return parent

    def _children(self, parent: dict[int, int], root: int) -> list[list[int]]:
        """The children of each atom, the best carrier first."""
        children: list[list[int]] = [[] for _ in self.names]
        reach = [int(number > 1) for number in self.numbers]  # heavy atoms on the longest chain that starts here
        for atom in reversed(parent):
            children[atom].sort(
                key=lambda a: (not self._is_backbone(a), -reach[a], not children[a], -self.numbers[a], a)
            )
            if atom != root:
                children[parent[atom]].append(atom)
                reach[parent[atom]] = max(reach[parent[atom]], reach[atom] + 1)
        return children

    def _is_backbone(self, atom: int) -> bool:
        return self.names[atom].rsplit("-", 1)[-1] in ("N", "CA", "C")

    # -- torsions ----------------------------------------------------------------------------------

    def torsion(self, row: Row, companions: tuple[int, int], value: float, positions: Tensor) -> Coordinate:
        """Kind, bounds and name of a row's torsion."""
        name = "torsion " + " ".join(self.names[a] for a in row)
        carrier, second = companions
        if carrier >= 0:
            middle, half = self._sibling(row[1], second >= 0, value)
            return Coordinate("interval", middle - half, middle + half, name)
        ring = self._ring(row[1], row[2])
        if not ring:
            return Coordinate("circle", -math.pi, math.pi, name)
        pucker = float(dihedral(*positions[ring])) if len(ring) == 4 else 0.0
        middle = math.remainder(value - pucker, 2 * math.pi)
        return Coordinate("interval", middle - _HALF, middle + _HALF, name)

    def _sibling(self, centre: int, third: bool, value: float) -> tuple[float, float]:
        """Middle and half-width of the interval of a sibling at this centre."""
        count = len(self.neighbours[centre])
        period_two = self.numbers[centre] <= 10
        if count == 4 and third:
            return math.pi, _HALF_OF_THIRD
        if count == 3 and period_two:
            return math.pi, _HALF_INVERTING if self.numbers[centre] == 7 else _HALF
        if count <= 4 and abs(value) < _OPPOSITE:
            return math.copysign(_THIRD if count == 4 else _HALF, value), _HALF
        return value, _HALF

    def _ring(self, a: int, b: int) -> list[int]:
        """Four consecutive ring atoms about the bond a–b, only [a, b] in a large ring, none outside rings."""
        back = self.distances(b, without=(a, b))
        if a not in back:
            return []
        if back[a] + 1 > _SMALL_RING:
            return [a, b]
        before = min(x for x in self.neighbours[a] if x != b and back.get(x, math.inf) == back[a] - 1)
        ahead = self.distances(a, without=(a, b))
        after = min(x for x in self.neighbours[b] if x != a and ahead.get(x, math.inf) == ahead[b] - 1)
        return [before, a, b, after]
