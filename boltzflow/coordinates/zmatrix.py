"""Derives a z-matrix from a bond graph: the atoms that place each atom, and the range of its torsion."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.geometry import angle, dihedral, distance
from boltzflow.coordinates.tree import Row, Tree, frame_of
from boltzflow.core.domain import Coordinate
from boltzflow.errors import NonFiniteError, ShapeError, TopologyError

LARGEST_ANGLE = math.radians(170.0)
"""Wider angles count as linear."""

_THIRD = 2 * math.pi / 3
_HALF = math.pi / 2
_HALF_OF_THIRD = 5 * math.pi / 12  # 75°: the largest that keeps three siblings in order if the second has ± 90°
_HALF_INVERTING = 3 * math.pi / 4
_OPPOSITE = math.radians(150.0)  # a sibling rotated further than this from its carrier is opposite to it
_RIGID_RING = 6  # up to this ring size, torsions lie within 90° of the flat ring
_LARGE_RING = 9  # from this ring size on, torsions are circles
_HALF_OF_RING = math.radians(150.0)  # half-width for ring sizes between the two

_NEVER_ALONE = (1, 5, 6, 7, 8, 14, 15, 16)  # hydrogen, boron to oxygen, silicon to sulfur

Labels = Literal["fixed", "free"]


@dataclass(frozen=True)
class ZMatrix:
    """How each atom is placed from atoms placed before it.

    A row is (atom, parent, grandparent, reference): the atom has a distance to its parent, an angle with
    parent and grandparent, and a torsion atom–parent–grandparent–reference. Missing entries of the first
    three rows (the seed) are −1. Rows are in the order of levels. An atom is placed from the frame of its
    parent, or from that of its grandparent if this is a child of the parent (in the seed and at the head of
    another molecule). Its level is one more than that of this frame.

    The children of one parent rotate together about the bond parent–grandparent. The first child is the carrier
    of this rotation: its reference is the grandparent's parent. The second has the first as its reference, so
    its torsion is the difference of both rotations. The torsion of the third is measured from the bisector of the
    first two (unless the second's torsion is a circle): its difference to the first, minus half of the second's.
    Further children are treated like the second. Atoms collinear with their grandparent come last and are never
    carrier or second, because they have no direction about that line.

    An atom that is collinear with its parent and grandparent has two bends instead of an angle and a torsion
    (see `bends`), and torsions beyond it are measured as if the line were straight.

    Attributes:
        names: the name of each atom.
        rows: one for each atom.
        torsions: kind, bounds (rad) and name of the torsion of each row from the fourth on.
        linear: the rows of atoms collinear with their parent and grandparent.
        links: (head, atom from which it is placed) of each molecule but the first: tree edges that are not bonds.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    torsions: tuple[Coordinate, ...]
    linear: tuple[int, ...] = ()
    links: tuple[tuple[int, int], ...] = ()

    @property
    def n_atoms(self) -> int:
        """The number of atoms N."""
        return len(self.names)

    @property
    def order(self) -> tuple[int, ...]:
        """The atoms in the order of placement."""
        return tuple(row[0] for row in self.rows)

    @cached_property
    def place(self) -> dict[int, int]:
        """The row of each atom."""
        return {atom: i for i, atom in enumerate(self.order)}

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """How the torsion of each row from the fourth on is measured."""
        free = {i for i, torsion in enumerate(self.torsions, 3) if torsion.kind == "circle"}
        return _relations(self.rows, self.linear, free)

    def is_link(self, *atoms: int) -> bool:
        """Whether an edge between two of these atoms joins two molecules."""
        return any(head in atoms and anchor in atoms for head, anchor in self.links)


@dataclass(frozen=True)
class Relation:
    """The rows relative to which a torsion is measured; −1 for none.

    Attributes:
        carrier: the sibling to whose rotation the torsion is added.
        second: the sibling half of whose torsion is added.
        bent: the parent, if it is collinear with its own parent and grandparent: its rotation is subtracted.
        across: the second child of a head, if that is the reference: its rotation is subtracted.
    """

    carrier: int = -1
    second: int = -1
    bent: int = -1
    across: int = -1


def _relations(rows: Sequence[Row], linear: Collection[int], free: Collection[int]) -> tuple[Relation, ...]:
    place = {row[0]: i for i, row in enumerate(rows)}
    row_of = {row[0]: row for row in rows}
    children: dict[tuple[int, int], list[int]] = {}
    found = []
    for i, row in enumerate(rows[2:], 2):
        _, parent, grandparent, reference = row
        placed = children.setdefault((parent, grandparent), [])
        if placed:
            has_second = len(placed) == 2 and placed[1] not in free and not {placed[1], i} & set(linear)
            second = placed[1] if has_second else -1
            found.append(Relation(carrier=placed[0], second=second))
        else:
            frame = place[frame_of(row_of, row)]
            is_usual = reference in (-1, rows[frame][2])
            bent = frame if frame in linear else -1
            found.append(Relation(bent=bent, across=-1 if is_usual else place[reference]))
        placed.append(i)
    return tuple(found[1:])


def bends(angle: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Two bends: the deviation of an atom from the straight continuation of a bond, from its polar angles.

    angle, turn: angle with parent and grandparent, near π, and rotation about their bond, in rad. Lambert's
    projection r = 2 cos(angle / 2), (r cos turn, r sin turn) preserves areas: the volume element sin(angle) becomes 1.
    """
    r = 2 * (angle / 2).cos()
    return r * turn.cos(), r * turn.sin()


def unbend(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `bends`: angle and turn. On the line itself the gradient is that of a neighbouring point."""
    square = p * p + q * q
    on_line = square < torch.finfo(p.dtype).eps ** 2
    p = torch.where(on_line, torch.finfo(p.dtype).eps, p)
    r = torch.where(on_line, p * p, square).sqrt()
    return math.pi - 2 * torch.asin(r / 2), torch.atan2(q, p)


def polar_angle(p: float, q: float) -> float:
    """The angle in rad that corresponds to two bends."""
    return math.pi - 2 * math.asin(min(math.hypot(p, q) / 2, 1.0))


def measure(
    rows: Sequence[Row], positions: Tensor, linear: Collection[int] = (), free: Collection[int] = ()
) -> tuple[list[float], list[float], list[float]]:
    """Lengths (N−1), angles (N−2) and torsions (N−3) of one structure (N, 3), row by row.

    linear: rows of collinear atoms, which have bends instead; free: rows of siblings on circles.
    """
    a, b, c, d = (positions[list(column)] for column in zip(*rows, strict=True))
    lengths = distance(a[1:], b[1:]).tolist()
    angles = angle(a[2:], b[2:], c[2:]).tolist()
    torsions = dihedral(a[3:], b[3:], c[3:], d[3:]).tolist()
    turns = dict(enumerate(torsions, 3))
    for i, relation in enumerate(_relations(rows, linear, free), 3):
        if relation.second >= 0:
            turns[i] -= turns[relation.second] / 2
        if relation.bent >= 0:
            turns[i] += turns[relation.bent]
    torsions = list(turns.values())
    for i in linear:
        pair = bends(torch.tensor(angles[i - 2]), torch.tensor(turns[i]))
        angles[i - 2], torsions[i - 3] = (float(t) for t in pair)
    return lengths, angles, torsions


def build_zmatrix(
    bonds: Sequence[tuple[int, int]],
    positions: Tensor,
    atomic_numbers: Sequence[int],
    names: Sequence[str],
    *,
    linear: Collection[tuple[int, int, int]] = (),
    bent: Collection[tuple[int, int, int]] = (),
    core: Collection[int] = (),
    labels: Labels = "fixed",
) -> ZMatrix:
    """Build the z-matrix of one or several molecules, with exactly one circle for each rotatable bond.

    A bond is rotatable if it is not in a ring and both of its atoms have further neighbours. The tree is grown
    breadth-first from the middle atom of the molecule, so that few levels are needed. The circles belong to the
    backbone of a peptide, or else to the longest chain of heavy atoms. A ring is opened at the bond farthest from the
    middle. Torsions about ring bonds are intervals around the flat ring. Their half-width is 90° in rings of up to 6
    atoms, which includes both puckers, and 150° in rings of 7 and 8 atoms. Larger rings have circles.

    Siblings of a carrier have intervals. At a centre with four neighbours the second child is at 120° ± 90° from the
    carrier, on the side of the reference structure, and the third at 180° ± 75° from the bisector of the two. These
    are the widest intervals in which their order around the bond, that is chirality and the labels of hydrogens,
    cannot change. (At the two ends of a ring's opened bond, the ring fixes the order.) At a centre with three
    neighbours the sibling is at 180° ± 90° from its carrier. The exceptions are nitrogen, which inverts, with ± 135°,
    and heavier elements (sulfoxides, phosphines) with 90° ± 90° on the side of the reference.

    The largest molecule comes first. The middle atom of every other molecule, its head, is placed from the first
    molecule by a distance, an angle and a circle. The head's first two children give the orientation: an angle and two
    circles. All other atoms are placed as in a single molecule.

    Args:
        bonds: pairs of atom indices.
        positions: reference structure (N, 3), nm: it sets the chirality of each centre.
        atomic_numbers: one for each atom.
        names: one for each atom, such as "ALA2-CA"; the part after the last "-" identifies backbone atoms.
        linear: angles (end, middle, end) that the force field makes linear; angles above 170° in the reference are
            found automatically.
        bent: angles (end, middle, end) that are never treated as linear, because they are too soft for bends.
        core: atoms that are placed before all others, only from each other.
        labels: "free" puts terminal siblings of one element (the hydrogens of CH₃ and CH₂) on circles, so that every
            order of their labels lies in the domain.

    Raises:
        ShapeError: if positions, atomic numbers and names differ in number.
        NonFiniteError: if a reference position is not finite; names the atom.
        TopologyError: if there are fewer than three atoms, a bond is invalid or seems to be missing, or all atoms are
            collinear; names the atoms.

    >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
    >>> build_zmatrix([(0, 1), (0, 2)], water, [8, 1, 1], ["O", "H1", "H2"]).rows
    ((0, -1, -1, -1), (1, 0, -1, -1), (2, 0, 1, -1))
    """
    positions = checked_structure(positions, atomic_numbers, names)
    graph = BondGraph(bonds, atomic_numbers, names)
    _check_parts(graph, positions)
    straight, soft = ({(frozenset((i, k)), j) for i, j, k in angles} for angles in (linear, bent))

    def is_linear(i: int, j: int, k: int) -> bool:
        key = frozenset((i, k)), j
        return key not in soft and (key in straight or float(angle(*positions[[i, j, k]])) > LARGEST_ANGLE)

    tree = Tree(graph, positions, core, is_linear)
    rows = tree.rows()
    links = {frozenset(link) for link in tree.links}
    on_line = tuple(
        i
        for i, (a, b, c, _) in enumerate(rows)
        if i > 2 and links.isdisjoint([frozenset((a, b)), frozenset((b, c))]) and is_linear(a, b, c)
    )
    describe = _Torsions(graph, positions, links, labels)
    free = {i for i, relation in enumerate(_relations(rows, on_line, ()), 3) if describe.is_free(rows[i], relation)}
    torsions = measure(rows, positions, on_line, free)[2]
    described = enumerate(zip(rows[3:], _relations(rows, on_line, free), torsions, strict=True), 3)
    kinds = tuple(describe(row, relation, value, i in on_line) for i, (row, relation, value) in described)
    return ZMatrix(tuple(names), rows, kinds, on_line, tuple(tree.links))


def checked_structure(positions: Any, atomic_numbers: Sequence[int], names: Sequence[str]) -> Tensor:
    """The reference structure (N, 3) in nm, float64 on the CPU.

    Raises:
        ShapeError, NonFiniteError, TopologyError: as `build_zmatrix`.
    """
    structure: Tensor = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    n = len(names)
    if structure.shape != (n, 3) or len(atomic_numbers) != n:
        raise ShapeError(
            f"Expected positions ({n}, 3) and {n} atomic numbers for {n} names; "
            f"got {tuple(structure.shape)} and {len(atomic_numbers)}."
        )
    broken = (~torch.isfinite(structure)).any(-1).nonzero().flatten().tolist()
    if broken:
        raise NonFiniteError(f"Expected finite reference positions; got non-finite ones for {names[broken[0]]}.")
    if n < 3:
        raise TopologyError(f"Expected at least 3 atoms for internal coordinates; got {n} ({', '.join(names)}).")
    return structure


def _check_parts(graph: BondGraph, positions: Tensor) -> None:
    """Raise a TopologyError if two atoms of different molecules are as close as bonded ones; names the atoms."""
    parts = graph.parts()
    for part in parts[1:]:
        rest = sorted(set(range(len(graph.names))) - set(part))
        i, j, apart = graph.nearest(rest, part, positions)
        lightest = min(graph.numbers[i], graph.numbers[j])
        closest = 0.13 if lightest == 1 else 0.19 if lightest <= 10 else 0.22  # nm: longer than bonds, below contacts
        if apart < closest and not (_is_ion(graph, i) or _is_ion(graph, j)):
            raise TopologyError(
                f"Expected molecules that do not touch; {graph.names[i]} and {graph.names[j]} are {apart:.3f} nm apart "
                "without a bond. Add the missing bond, or move the molecules apart."
            )


def _is_ion(graph: BondGraph, atom: int) -> bool:
    """Whether an atom may be unbonded: a metal, a halide, a noble gas, a particle without element."""
    return not graph.neighbours[atom] and graph.numbers[atom] not in _NEVER_ALONE


class _Torsions:
    """Determines kind, bounds and name of a row's torsion."""

    def __init__(self, graph: BondGraph, positions: Tensor, links: set[frozenset[int]], labels: Labels) -> None:
        self._graph, self._positions, self._links = graph, positions, links
        self._labels = labels

    def is_free(self, row: Row, relation: Relation) -> bool:
        """Whether a sibling's torsion is a circle: in another molecule, or for a terminal atom with a free label."""
        atom, centre, _, carrier = row
        return relation.carrier >= 0 and (
            frozenset((atom, centre)) in self._links
            or self._has_any_label(atom, centre)
            or self._has_any_label(carrier, centre)
        )

    def _has_any_label(self, atom: int, centre: int) -> bool:
        """Whether every order of the atom and its equivalents around their centre should lie in the domain."""
        graph, linked = self._graph, self._graph.neighbours[centre]
        alike = [a for a in linked if len(graph.neighbours[a]) == 1 and graph.numbers[a] == graph.numbers[atom]]
        return self._labels == "free" and len(linked) == 4 and atom in alike and len(alike) > 1

    def __call__(self, row: Row, relation: Relation, value: float, on_line: bool) -> Coordinate:
        atom, parent, grandparent, reference = row
        names = [self._graph.names[a] for a in row]
        if on_line:
            return Coordinate("interval", -_HALF, _HALF, "bend " + " ".join(names[:3]) + " across " + names[3])
        name = "torsion " + " ".join(names)
        edges = [
            frozenset(edge)
            for edge in ((atom, parent), (parent, grandparent), (grandparent, reference), (parent, reference))
        ]
        is_free = self.is_free(row, relation)
        if is_free or (relation.carrier < 0 and not self._links.isdisjoint(edges)):
            return Coordinate("circle", -math.pi, math.pi, name)
        if relation.carrier >= 0:
            middle, half = self._sibling(parent, relation.second >= 0, value)
            return Coordinate("interval", middle - half, middle + half, name)
        ring = self._graph.ring(parent, grandparent)
        # At a cut ring the first of two hydrogens is the carrier of the other; exchanged, it is 120° away.
        if not ring or len(ring) >= _LARGE_RING or self._has_any_label(atom, parent):
            return Coordinate("circle", -math.pi, math.pi, name)
        around = [ring[1], parent, grandparent, ring[-2]]
        pucker = float(dihedral(*self._positions[around])) if len(ring) > 3 else 0.0
        middle = math.remainder(value - pucker, 2 * math.pi)
        half = _HALF if len(ring) <= _RIGID_RING else _HALF_OF_RING
        return Coordinate("interval", middle - half, middle + half, name)

    def _sibling(self, centre: int, third: bool, value: float) -> tuple[float, float]:
        """Middle and half-width of a sibling's interval at this centre."""
        count = len(self._graph.neighbours[centre])
        number = self._graph.numbers[centre]
        if count == 4 and third:
            return math.pi, _HALF_OF_THIRD
        if count == 3 and number <= 10:
            return math.pi, _HALF_INVERTING if number == 7 else _HALF
        if count <= 4 and abs(value) < _OPPOSITE:
            return math.copysign(_THIRD if count == 4 else _HALF, value), _HALF
        return value, _HALF
