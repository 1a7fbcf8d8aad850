"""From a bond graph to a z-matrix: which atoms each atom is placed by, and what its torsion may be."""

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
"""A wider angle counts as linear."""

_THIRD = 2 * math.pi / 3
_HALF = math.pi / 2
_HALF_OF_THIRD = 5 * math.pi / 12  # 75°: the most that keeps three siblings in order when the second is free by 90°
_HALF_INVERTING = 3 * math.pi / 4
_OPPOSITE = math.radians(150.0)  # a sibling turned further than this from its carrier lies opposite to it
_RIGID_RING = 6  # up to this size a ring's torsions stay within a right angle of the flat ring
_LARGE_RING = 9  # from this size on they may have any value
_HALF_OF_RING = math.radians(150.0)  # between the two

_NEVER_ALONE = (1, 5, 6, 7, 8, 14, 15, 16)  # hydrogen, boron to oxygen, silicon to sulfur

Labels = Literal["fixed", "free"]


@dataclass(frozen=True)
class ZMatrix:
    """How each atom is placed from atoms placed before it.

    A row is (atom, parent, grandparent, reference): the atom has a distance to its parent, an angle with
    parent and grandparent, and a torsion atom–parent–grandparent–reference. Missing entries of the first
    three rows (the seed) are −1. Rows stand in the order of levels: an atom is placed from the frame of its
    parent, or, where its grandparent is its parent's child (in the seed and at the head of another molecule),
    from that of its grandparent, and its level is one more than that frame's.

    The children of one parent turn together about the bond parent–grandparent. The first of them carries
    this rotation: its reference is the grandparent's parent. The second has the first as its reference, so
    its torsion is the difference of both rotations. The third's is measured from the bisector of the first
    two (unless the second's torsion is a circle): its difference to the first, less half of the second's.
    Further ones are like the second. Atoms on a line with their grandparent come last and are nobody's carrier or
    second: they have no direction about that line.

    An atom on a line with its parent and grandparent has two bends in the place of angle and torsion
    (see `bends`), and torsions beyond it are measured as if the line were straight.

    Attributes:
        names: the name of each atom.
        rows: one for each atom.
        torsions: kind, bounds (rad) and name of the torsion of each row from the fourth on.
        linear: the rows of atoms on a line with their parent and grandparent.
        links: (head, atom it hangs on) of each molecule but the first: edges of the tree that are no bonds.
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
        """What the torsion of each row from the fourth on is measured from."""
        free = {i for i, torsion in enumerate(self.torsions, 3) if torsion.kind == "circle"}
        return _relations(self.rows, self.linear, free)

    def is_link(self, *atoms: int) -> bool:
        """Whether one of the edges between two of these atoms joins two molecules."""
        return any(head in atoms and anchor in atoms for head, anchor in self.links)


@dataclass(frozen=True)
class Relation:
    """What a row's torsion is measured from: rows, −1 for none.

    Attributes:
        carrier: the sibling whose rotation it is added to.
        second: the sibling whose torsion is added to it by half.
        bent: the parent, on a line with what comes before: its rotation is subtracted.
        across: the second child of a head, where that is the reference: its rotation is subtracted.
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
    """Two bends of an atom from the straight continuation of a bond, from its polar angles there.

    angle, turn: angle with parent and grandparent, near π, and rotation about their bond, in rad. Lambert's
    projection r = 2 cos(angle / 2), (r cos turn, r sin turn) keeps areas: the volume element sin(angle) is 1.
    """
    r = 2 * (angle / 2).cos()
    return r * turn.cos(), r * turn.sin()


def unbend(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `bends`: angle and turn. The gradient on the line itself is that of a point beside it."""
    square = p * p + q * q
    on_line = square < torch.finfo(p.dtype).eps ** 2
    p = torch.where(on_line, torch.finfo(p.dtype).eps, p)
    r = torch.where(on_line, p * p, square).sqrt()
    return math.pi - 2 * torch.asin(r / 2), torch.atan2(q, p)


def polar_angle(p: float, q: float) -> float:
    """The angle in rad of an atom with two bends."""
    return math.pi - 2 * math.asin(min(math.hypot(p, q) / 2, 1.0))


def measure(
    rows: Sequence[Row], positions: Tensor, linear: Collection[int] = (), free: Collection[int] = ()
) -> tuple[list[float], list[float], list[float]]:
    """Lengths (N−1), angles (N−2) and torsions (N−3) of one structure (N, 3), row by row.

    linear, free: rows of atoms on a line, which have bends instead, and of siblings on circles.
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
    """The z-matrix of one or several molecules, with exactly one circle for each rotatable bond.

    Rotatable is every bond outside rings whose two atoms both have further neighbours. The tree is grown
    breadth-first from the atom in the middle of the molecule, so that few levels are needed; the backbone
    of a peptide, then the longest chain of heavy atoms, carries the circles. A ring is opened at the bond
    farthest from that middle. Torsions about the bonds of a ring of up to 6 atoms are intervals of half-width
    90° around the flat ring, in which both puckers lie, of 7 and 8 atoms 150°; larger rings have circles.

    Siblings of a carrier have intervals. At a centre of four neighbours the second is 120° ± 90° from the
    carrier, on the side that the reference structure says, and the third 180° ± 75° from the bisector of
    the two: so wide, and yet their order around the bond, that is chirality and the labels of hydrogens,
    cannot change (at the two ends of a ring's opened bond, the ring holds them). At a centre of three
    neighbours the sibling is 180° ± 90° from its carrier, at nitrogen, which inverts, ± 135°, at heavier
    elements (sulfoxides, phosphines) on its own side, 90° ± 90°.

    The largest molecule comes first; of every other one the middle atom, its head, hangs on the first one's by
    a distance, an angle and a circle, and the head's first two children have its orientation: an angle and two
    circles. All else in it is as if it stood alone.

    Args:
        bonds: pairs of atom indices.
        positions: reference structure (N, 3), nm: gives the handedness of each centre.
        atomic_numbers: one for each atom.
        names: one for each atom, such as "ALA2-CA"; the part after the last "-" tells the backbone.
        linear: angles (end, middle, end) that the force field makes linear; those of more than 170° in the
            reference are found.
        bent: angles (end, middle, end) that are none of these, whatever else says so: too soft for bends.
        core: atoms that are placed before all others, from one another alone.
        labels: "free" puts siblings that are leaves of one element (the hydrogens of CH₃ and CH₂) on circles,
            so that every order of their labels lies in the domain.

    Raises:
        ShapeError: if positions, atomic numbers and names do not fit together.
        NonFiniteError: if a reference position is not finite; names the atom.
        TopologyError: if there are fewer than three atoms, if a bond is not one or seems to be missing, or if all
            atoms lie on a line; names the atoms.

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
        raise NonFiniteError(f"Expected finite reference positions; got some that are not for {names[broken[0]]}.")
    if n < 3:
        raise TopologyError(f"Expected at least 3 atoms for internal coordinates; got {n} ({', '.join(names)}).")
    return structure


def _check_parts(graph: BondGraph, positions: Tensor) -> None:
    """Raise a TopologyError that names two atoms of different parts that are as close as bonded ones."""
    parts = graph.parts()
    for part in parts[1:]:
        rest = sorted(set(range(len(graph.names))) - set(part))
        i, j, apart = graph.nearest(rest, part, positions)
        lightest = min(graph.numbers[i], graph.numbers[j])
        closest = 0.13 if lightest == 1 else 0.19 if lightest <= 10 else 0.22  # nm: bonds are shorter, contacts longer
        if apart < closest and not (_is_ion(graph, i) or _is_ion(graph, j)):
            raise TopologyError(
                f"Expected molecules that do not touch; no bonds lead from {graph.names[i]} to {graph.names[j]}, "
                f"{apart:.3f} nm apart. Add the missing bond, or move the molecules apart."
            )


def _is_ion(graph: BondGraph, atom: int) -> bool:
    """Whether an atom without bonds may be one by itself: a metal, a halide, a noble gas, a particle of no element."""
    return not graph.neighbours[atom] and graph.numbers[atom] not in _NEVER_ALONE


class _Torsions:
    """Kind, bounds and name of a row's torsion."""

    def __init__(self, graph: BondGraph, positions: Tensor, links: set[frozenset[int]], labels: Labels) -> None:
        self._graph, self._positions, self._links = graph, positions, links
        self._labels = labels

    def is_free(self, row: Row, relation: Relation) -> bool:
        """Whether a sibling's torsion is a circle: that of another molecule, or of a leaf whose label is free."""
        atom, centre, _, carrier = row
        return relation.carrier >= 0 and (
            frozenset((atom, centre)) in self._links
            or self._has_any_label(atom, centre)
            or self._has_any_label(carrier, centre)
        )

    def _has_any_label(self, atom: int, centre: int) -> bool:
        """Whether every order of the atom and its like around their centre is to lie in the domain."""
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
        # Where a ring is cut, the first of two hydrogens carries the other; exchanged, it is a third of a turn away.
        if not ring or len(ring) >= _LARGE_RING or self._has_any_label(atom, parent):
            return Coordinate("circle", -math.pi, math.pi, name)
        around = [ring[1], parent, grandparent, ring[-2]]
        pucker = float(dihedral(*self._positions[around])) if len(ring) > 3 else 0.0
        middle = math.remainder(value - pucker, 2 * math.pi)
        half = _HALF if len(ring) <= _RIGID_RING else _HALF_OF_RING
        return Coordinate("interval", middle - half, middle + half, name)

    def _sibling(self, centre: int, third: bool, value: float) -> tuple[float, float]:
        """Middle and half-width of the interval of a sibling at this centre."""
        count = len(self._graph.neighbours[centre])
        number = self._graph.numbers[centre]
        if count == 4 and third:
            return math.pi, _HALF_OF_THIRD
        if count == 3 and number <= 10:
            return math.pi, _HALF_INVERTING if number == 7 else _HALF
        if count <= 4 and abs(value) < _OPPOSITE:
            return math.copysign(_THIRD if count == 4 else _HALF, value), _HALF
        return value, _HALF
