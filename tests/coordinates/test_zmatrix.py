from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from boltzflow.coordinates import build_zmatrix
from boltzflow.coordinates.zmatrix import ZMatrix, measure
from boltzflow.errors import NonFiniteError, ShapeError, TopologyError

from .conftest import Molecule


def zmatrix_of(molecule: Molecule) -> ZMatrix:
    return build_zmatrix(molecule.bonds, molecule.positions, molecule.atomic_numbers, molecule.names)


def rotatable_bonds(bonds: list[tuple[int, int]], n: int) -> set[frozenset[int]]:
    """Bonds whose removal leaves two parts of more than one atom each."""
    found = set()
    for left_out in bonds:
        part, todo = set(), [left_out[0]]
        while todo:
            atom = todo.pop()
            if atom not in part:
                part.add(atom)
                todo += [sum(b) - atom for b in bonds if atom in b and b != left_out]
        if left_out[1] not in part and 1 < len(part) < n - 1:
            found.add(frozenset(left_out))
    return found


def test_each_atom_is_placed_once_from_atoms_placed_before(molecule: Molecule) -> None:
    zmatrix = zmatrix_of(molecule)
    assert sorted(zmatrix.order) == list(range(len(molecule.names)))
    bonded = {frozenset(b) for b in molecule.bonds}
    for i, (atom, *references) in enumerate(zmatrix.rows):
        used = references[: min(i, 3)]
        assert len(set(used)) == len(used)
        assert set(used) <= set(zmatrix.order[:i])
        assert references[min(i, 3) :] == [-1] * (3 - min(i, 3))
        if i:
            assert frozenset((atom, references[0])) in bonded


def test_one_circle_for_each_rotatable_bond(molecule: Molecule) -> None:
    zmatrix = zmatrix_of(molecule)
    circles = [
        frozenset(row[1:3]) for row, t in zip(zmatrix.rows[3:], zmatrix.torsions, strict=True) if t.kind == "circle"
    ]
    assert len(circles) == len(set(circles))
    assert set(circles) == rotatable_bonds(molecule.bonds, len(molecule.names))


def test_siblings_refer_to_the_atom_that_carries_their_bond(molecule: Molecule) -> None:
    zmatrix = zmatrix_of(molecule)
    carriers: dict[tuple[int, int], int] = {tuple(zmatrix.rows[2][1:3]): zmatrix.rows[2][0]}  # type: ignore[dict-item]
    for atom, parent, grandparent, reference in zmatrix.rows[3:]:
        carrier = carriers.setdefault((parent, grandparent), atom)
        assert (carrier == atom) != (carrier == reference)


def test_backbone_carries_the_circles(peptide: Molecule) -> None:
    torsions = {t.name: t for t in zmatrix_of(peptide).torsions}
    atoms = {(a[0][3:], a[1]): "-".join(a) for a in (name.split("-") for name in peptide.names)}
    residues = [atoms[str(i + 1), "CA"][:3] for i in range(20)]
    for i, residue in enumerate(residues[1:], 2):
        quadruple = [atoms[str(i - 1), "C"], *(atoms[str(i), a] for a in ("N", "CA", "C"))]
        names = [" ".join(["torsion", *q]) for q in (quadruple, quadruple[::-1])]
        found = [torsions[n] for n in names if n in torsions]
        if found:  # the seed's own angle lies on the chain, so one residue has its circle about the same bond
            assert found[0].kind == ("interval" if residue == "PRO" else "circle")
    assert (
        sum(
            t.kind == "circle" and {"C", "N", "CA"} >= {p.split("-")[1] for p in t.name.split()[1:]}
            for t in torsions.values()
        )
        >= 3 * 19 - 2
    )


def test_levels_of_the_dipeptide_are_few(dipeptide: Molecule) -> None:
    zmatrix = zmatrix_of(dipeptide)
    level = {zmatrix.order[0]: 0}
    for atom, parent, *_ in zmatrix.rows[1:]:
        level[atom] = level[parent] + 1
    assert [dipeptide.names[a] for a in zmatrix.order[:3]] == ["ALA2-CA", "ALA2-N", "ALA2-C"]
    assert max(level.values()) == 4
    names = [t.name for t in zmatrix.torsions if t.kind == "circle"]
    assert "torsion ACE1-C ALA2-N ALA2-CA ALA2-C" in names
    assert "torsion NME3-N ALA2-C ALA2-CA ALA2-N" in names


def cyclohexane(up: float) -> Tensor:
    """A chair (carbons 0–5, hydrogens 6–17); `up` = ±1 gives the two chairs, labels of hydrogens kept."""
    turns = torch.arange(6, dtype=torch.float64) * math.pi / 3
    height = 0.025 * up * torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    carbons = torch.stack([0.145 * turns.cos(), 0.145 * turns.sin(), height], 1)
    before, after = carbons.roll(1, 0), carbons.roll(-1, 0)
    outward = torch.nn.functional.normalize(2 * carbons - before - after, dim=1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(carbons - before, after - carbons), dim=1)
    tilt = math.radians(54.75)
    above, below = (0.109 * (math.cos(tilt) * outward + s * math.sin(tilt) * normal) for s in (1, -1))
    return torch.cat([carbons, carbons + above, carbons + below])


def test_both_chairs_of_a_ring_lie_inside() -> None:
    bonds = [(i, (i + 1) % 6) for i in range(6)] + [(i, i + 6) for i in range(6)] + [(i, i + 12) for i in range(6)]
    names = [f"C{i}" for i in range(6)] + [f"H{i}" for i in range(12)]
    zmatrix = build_zmatrix(bonds, cyclohexane(1.0), [6] * 6 + [1] * 12, names)
    assert not [t for t in zmatrix.torsions if t.kind == "circle"]
    for chair in (1.0, -1.0):
        values = measure(zmatrix.rows, cyclohexane(chair))[2]
        for t, value in zip(zmatrix.torsions, values, strict=True):
            middle = (t.low + t.high) / 2
            assert t.low < middle + math.remainder(value - middle, 2 * math.pi) < t.high, t


def test_only_light_centres_of_three_neighbours_may_invert() -> None:
    pyramid = torch.tensor([[0.0, 0.0, 0.03], [0.1, 0.0, 0.0], [-0.05, 0.087, 0.0], [-0.05, -0.087, 0.0]])
    mirror = pyramid * torch.tensor([1.0, 1.0, -1.0])
    bonds, names = [(0, 1), (0, 2), (0, 3)], ["X", "H1", "H2", "H3"]
    for number, inverts in ((7, True), (15, False)):
        zmatrix = build_zmatrix(bonds, pyramid, [number, 1, 1, 1], names)
        (torsion,) = zmatrix.torsions
        (value,) = measure(zmatrix.rows, mirror)[2]
        middle = (torsion.low + torsion.high) / 2
        assert (torsion.low < middle + math.remainder(value - middle, 2 * math.pi) < torsion.high) == inverts


def test_disconnected_atoms_are_named(dipeptide: Molecule) -> None:
    names = dipeptide.names
    cut = [b for b in dipeptide.bonds if {names[b[0]], names[b[1]]} != {"ACE1-C", "ALA2-N"}]
    assert len(cut) == len(dipeptide.bonds) - 1
    with pytest.raises(TopologyError, match=r"ALA2-N and ACE1-C are 0\.13\d nm apart without a bond"):
        build_zmatrix(cut, dipeptide.positions, dipeptide.atomic_numbers, names)


def test_a_lone_hydrogen_is_no_ion() -> None:
    water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0], [0.0, 0.0, 0.2]])
    with pytest.raises(TopologyError, match=r"O and H2 are 0\.096 nm apart without a bond"):
        build_zmatrix([(0, 1)], water[:3], [8, 1, 1], ["O", "H1", "H2"])
    build_zmatrix([(0, 1), (0, 2)], water, [8, 1, 1, 11], ["O", "H1", "H2", "Na"])


def test_atoms_on_a_line_are_named() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.001, 0.0], [0.3, 0.0, 0.0]])
    with pytest.raises(TopologyError, match=r"are not all collinear; got C2 N1 C1"):
        build_zmatrix([(0, 1), (1, 2), (2, 3)], points, [6, 7, 6, 1], ["C1", "N1", "C2", "H1"])


def test_bad_input_is_refused(dipeptide: Molecule) -> None:
    bonds, x, numbers, names = dipeptide.bonds, dipeptide.positions, dipeptide.atomic_numbers, dipeptide.names
    with pytest.raises(TopologyError, match=r"got \(0, 22\)"):
        build_zmatrix([*bonds, (0, 22)], x, numbers, names)
    with pytest.raises(TopologyError, match=r"at least 3 atoms.*got 2 \(O, H\)"):
        build_zmatrix([(0, 1)], x[:2], [8, 1], ["O", "H"])
    with pytest.raises(ShapeError, match=r"\(22, 3\)"):
        build_zmatrix(bonds, x[:-1], numbers, names)
    broken = x.clone()
    broken[7, 1] = math.nan
    with pytest.raises(NonFiniteError, match=names[7]):
        build_zmatrix(bonds, broken, numbers, names)
