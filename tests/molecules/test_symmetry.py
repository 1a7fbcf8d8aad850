"""Permutations of equivalent atoms: which there are, which a domain holds, and what log Z counts."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.analysis import unfold
from boltzflow.coordinates import InternalCoordinates, MolecularCoordinates
from boltzflow.coordinates.automorphisms import generators
from boltzflow.errors import ShapeError, TopologyError, UnsupportedForceError
from boltzflow.molecules.symmetry import label_orders

from .ethane import CARBONS, HYDROGENS, ethane

STRUCTURES = Path(__file__).parent / "structures"
PEPTIDES = ["amber14/protein.ff14SB.xml", "implicit/obc2.xml"]


def molecule(name: str) -> bf.MolecularSystem:
    """A structure with a force field if it is a peptide, else as geometry alone."""
    path = STRUCTURES / f"{name}.pdb"
    if name.startswith("dipeptide"):
        return bf.MolecularSystem.from_pdb(path, PEPTIDES)
    pdb, system = app.PDBFile(str(path)), openmm.System()
    for atom in pdb.topology.atoms():
        system.addParticle(atom.element.mass)
    return bf.MolecularSystem(pdb.topology, system, pdb.positions, name=name)


def all_automorphisms(neighbours: list[list[int]], colours: str) -> set[tuple[int, ...]]:
    """By trying every permutation."""
    edges = {(a, b) for a, linked in enumerate(neighbours) for b in linked}
    return {
        p
        for p in itertools.permutations(range(len(neighbours)))
        if all(colours[i] == colours[image] for i, image in enumerate(p))
        and all((p[a], p[b]) in edges for a, b in edges)
    }


@pytest.mark.parametrize(
    ("edges", "colours"),
    [
        ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)], "cccccc"),  # a ring: 12
        ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)], "cncncn"),  # every other atom another element: 6
        ([(0, 1), (0, 2), (0, 3), (0, 4)], "chhhh"),  # methane: 24
        ([(0, 1), (2, 3), (4, 5)], "hohoho"),  # three molecules: 6
        ([(a, b) for a in range(6) for b in range(a) if a - b != 3], "cccccc"),  # an octahedron: 48
        ([(0, 1), (1, 2), (2, 3), (1, 4), (2, 5), (5, 6)], "ccccccc"),  # no two ends alike: 2
        ([(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)], "cccccc"),  # two rings of three: 72
    ],
)
def test_generators_make_all_automorphisms_of_a_graph(edges: list[tuple[int, int]], colours: str) -> None:
    neighbours = [[b for e in edges for a, b in (e, e[::-1]) if a == i] for i in range(len(colours))]
    group = {tuple(range(len(colours)))}
    fresh = list(group)
    for element in fresh:  # grows as it is read
        for step in generators(neighbours, colours):
            product = tuple(step[i] for i in element)
            if product not in group:
                group.add(product)
                fresh.append(product)
    assert group == all_automorphisms(neighbours, colours)


@pytest.mark.parametrize(
    ("name", "order", "fixed", "free"),
    [
        # order: all permutations; fixed, free: copies of the domain with labels of hydrogens fixed and free
        ("dipeptide_ala", 6**3, 2**3, 1),  # three methyls: their cyclic permutations are on the circles
        ("dipeptide_leu", 6**4 * 2 * 2, 2**6, 2),  # a CH2 and which methyl is which, which no turn changes
        ("dipeptide_pro", 6**2 * 2**3, 2**5, 1),  # a ring of five
        ("acetonitrile", 6, 2, 1),
        ("tetrachloromethane", 24, 2, 1),
        ("allene", 8, 1, 1),  # nothing there is handed
        ("cubane", 48, 2, 2),  # of the cube's 48 symmetries 24 are turns; a mirror image is another copy
        ("adamantane", 24 * 2**6, 2 * 2**6, 2),
        ("water_dimer", 8, 1, 1),
        ("benzene_methanol", 72, 2, 1),
        ("hydrogen_peroxide", 2, 1, 1),
    ],
)
def test_the_numbers_of_permutations_and_copies(name: str, order: int, fixed: int, free: int) -> None:
    system = molecule(name)
    symmetry = system.symmetry()
    assert symmetry.order == order
    for labels, copies in (("fixed", fixed), ("free", free)):
        assert symmetry.copies(system.coordinates(labels=labels)).number == copies, labels


def test_cyclohexane_keeps_the_symmetries_of_its_ring() -> None:
    """12 symmetries of the hexagon stay in the domain, chair flips among them; exchanges within a CH2 do not."""
    system = bf.load_system("cyclohexane")
    symmetry = system.symmetry()
    assert symmetry.order == 12 * 2**6
    assert symmetry.copies(system.coordinates()).number == 2**6
    assert symmetry.copies(system.coordinates(labels="free")).number == 1


def test_constraints_change_no_count() -> None:
    system = bf.load_system("ala3")
    assert system.openmm_system.getNumConstraints() > 0
    assert system.symmetry().order == 6**5
    assert system.symmetry().copies(system.coordinates()).number == 2**5


def test_frozen_atoms_are_not_exchanged() -> None:
    held = bf.load_system("alanine_dipeptide").freeze("resname ACE")
    symmetry = held.symmetry()
    assert symmetry.order == 6**2
    assert symmetry.copies(held.coordinates()).number == 4
    assert symmetry.copies(held.coordinates(labels="free")).number == 1


def test_symmetries_are_found_where_energies_come_from_openmm(monkeypatch: pytest.MonkeyPatch) -> None:
    def untranslated(*arguments: object, **options: object) -> None:
        raise UnsupportedForceError("nothing is")

    monkeypatch.setattr("boltzflow.molecules.potentials.TorchPotential", untranslated)
    assert bf.load_system("alanine_dipeptide").symmetry().order == 6**3


def test_flips_that_the_order_of_an_improper_torsion_breaks_are_named() -> None:
    symmetry = molecule("dipeptide_phe").symmetry()
    assert symmetry.order == 6**2 * 2
    ((flip, difference),) = symmetry.broken
    assert len(flip.atoms) == 8
    assert 0 < difference < 0.1  # kJ/mol
    assert "some of these permutations change the energy by" in str(symmetry)


def test_folding_undoes_what_unfolding_did() -> None:
    system = molecule("dipeptide_leu")
    coordinates = system.coordinates()
    copies = system.symmetry().copies(coordinates)
    widths = coordinates.widths.clamp(max=0.2)  # rad, of the circles
    noise = torch.randn(200, len(widths), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = coordinates(coordinates.domain.wrap(coordinates.centers + widths * noise))[0]
    moved = torch.as_tensor(copies.unfold(x, seed=1))
    potential = system.potential("torch", compile=False)
    torch.testing.assert_close(potential.energy(moved), potential.energy(x))
    inside = coordinates.domain.contains(coordinates.inverse(moved)[0])
    assert float(inside.double().mean()) < 0.1  # one of 64 copies is the domain
    folded, was_found = copies.fold(moved)
    assert was_found.all()
    torch.testing.assert_close(coordinates.inverse(folded)[0], coordinates.inverse(x)[0], rtol=0, atol=1e-9)


def test_a_frame_of_the_other_enantiomer_folds_nowhere() -> None:
    system = molecule("dipeptide_ala")
    mirrored = torch.tensor(system.positions)[None] * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    folded, was_found = system.symmetry().copies(system.coordinates()).fold(mirrored)
    assert not was_found.any()
    torch.testing.assert_close(folded, mirrored)


def test_unfolded_log_z_is_that_of_a_generator_with_free_labels() -> None:
    """Ethane: log Z with fixed labels, unfolded over 4 copies, against that with free ones; z of 3e5 samples."""
    system = ethane()
    found = {}
    for labels in ("fixed", "free"):
        coordinates = system.coordinates(labels=labels)
        generator = bf.BoltzmannGenerator.for_system(system, coordinates=coordinates, layers=1, hidden=(8,))
        copies = system.symmetry().copies(coordinates)
        assert copies.number == {"fixed": 4, "free": 1}[labels]
        drawn = generator.sample(300_000, seed=3, batch_size=10_000)
        found[labels] = unfold(drawn, copies, seed=4)
        assert found[labels].log_z.value == pytest.approx(drawn.log_z.value + math.log(copies.number))
        assert found[labels].absolute
        shift = found[labels].log_q - drawn.log_q
        np.testing.assert_allclose(shift, -math.log(copies.number), atol=1e-6)
    fixed, free = found["fixed"], found["free"]
    error = math.hypot(fixed.log_z.error, free.log_z.error)
    assert error < 0.03
    assert abs(fixed.log_z.value - free.log_z.value) < 4 * error

    # Each order of a methyl's hydrogens has half of the weight in both.
    for ensemble in (fixed, free):
        for end in (0, 1):
            h = ensemble.positions[:, HYDROGENS[end]].astype(float)
            arms = h - ensemble.positions[:, [CARBONS[end]]]
            right = np.linalg.det(arms) > 0
            weights, n = ensemble.weights, len(ensemble) * ensemble.ess
            assert abs(weights[right].sum() - 0.5) < 4 * 0.5 / math.sqrt(n)


def orders_of(system: bf.MolecularSystem, coordinates: MolecularCoordinates) -> torch.Tensor:
    return label_orders(system.bond_graph, torch.from_numpy(system.positions), coordinates)


def test_both_orders_of_free_labels_are_a_start() -> None:
    system = ethane()
    assert len(orders_of(system, system.coordinates())) == 1
    orders = orders_of(system, system.coordinates(labels="free"))
    assert orders.shape == (2, 8, 3)
    assert orders[1].tolist() != orders[0].tolist()
    torch.testing.assert_close(system.potential().energy(orders)[1], system.potential().energy(orders)[0])
    glycine = molecule("dipeptide_gly")
    first, second = orders_of(glycine, glycine.coordinates(labels="free"))
    moved = {glycine.atom_names[i] for i in range(glycine.n_atoms) if first[i].tolist() != second[i].tolist()}
    assert len(moved) == 2 * 3  # two methyls and a CH2


def test_every_order_of_labels_lies_in_a_domain_of_free_ones() -> None:
    """Of the hydrogens at centres of four neighbours, in a chain, in a ring that is cut there, and beside one leaf."""
    for name in ("dipeptide_pro", "camphor", "dipeptide_lys", "penicillin_g"):
        system = molecule(name)
        coordinates = system.coordinates(labels="free")
        neighbours: dict[int, list[int]] = {}
        for a, b in system.bonds:
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
        elements = [atom.element.symbol for atom in system.topology.atoms()]
        x = torch.tensor(system.positions)[None]
        exchanges = 0
        for linked in neighbours.values():
            leaves = [a for a in linked if len(neighbours[a]) == 1 and elements[a] == "H"]
            if len(linked) == 4:
                for pair in itertools.combinations(leaves, 2):
                    exchanged = x.clone()
                    exchanged[:, list(pair)] = x[:, list(reversed(pair))]
                    assert coordinates.domain.contains(coordinates.inverse(exchanged)[0]).all(), (name, pair)
                    exchanges += 1
        assert exchanges > 5


def test_copies_that_overlap_in_part_are_refused() -> None:
    system = ethane()
    specification = system.coordinates().specification
    sibling = next(i for i, name in enumerate(specification["names"]) if name.startswith("torsion ETH1-H11"))
    middle = (specification["low"][sibling] + specification["high"][sibling]) / 2
    specification["low"][sibling] = middle - math.radians(241.0)  # as far as where the other order is, or not
    specification["high"][sibling] = middle + math.radians(90.0)
    coordinates = InternalCoordinates.from_specification(specification)
    with pytest.raises(TopologyError, match=r"completely or not at all; one moves \d+% of 16 structures"):
        system.symmetry().copies(coordinates)


def test_a_domain_without_the_structure_has_no_copies_and_folds_nothing() -> None:
    """The torsion of butane's chain within ±100°; the structure is at 180°."""
    system = bf.load_system("butane")
    specification = system.coordinates().specification
    chain = specification["names"].index("torsion NBU1-C4 NBU1-C3 NBU1-C2 NBU1-C1")
    specification["kinds"][chain] = "interval"
    specification["low"][chain], specification["high"][chain] = -math.radians(100.0), math.radians(100.0)
    coordinates = InternalCoordinates.from_specification(specification)
    with pytest.raises(TopologyError, match="Expected the system's structure inside the domain"):
        system.symmetry().copies(coordinates)
    generator = bf.BoltzmannGenerator.for_system(system, coordinates=coordinates, layers=1, hidden=(8,), start="plain")
    x = torch.from_numpy(system.positions)[None]
    torch.testing.assert_close(generator.fold(x), x)


def test_a_generator_folds_frames_into_its_domain() -> None:
    system = bf.load_system("butane")
    generator = bf.BoltzmannGenerator.for_system(system, layers=1, hidden=(8,), start="plain")
    drawn = generator.sample(200, seed=0)
    moved = torch.from_numpy(unfold(drawn, system.symmetry().copies(generator.coordinates), seed=1).positions)
    assert float(generator.log_prob(moved).isneginf().double().mean()) > 0.5
    torch.testing.assert_close(
        generator.log_prob(generator.fold(moved)), torch.from_numpy(drawn.log_q).to(moved), rtol=0, atol=5e-3
    )


def test_coordinates_and_frames_of_another_molecule_are_refused() -> None:
    symmetry = ethane().symmetry()
    with pytest.raises(ShapeError, match="Expected coordinates of 8 atoms; got those of 14"):
        symmetry.copies(bf.load_system("butane").coordinates())
    with pytest.raises(ShapeError):
        symmetry.copies(ethane().coordinates()).fold(torch.zeros(2, 9, 3))


def test_too_many_permutations_are_refused() -> None:
    topology, system, positions = app.Topology(), openmm.System(), []
    for i in range(9):  # 9 equal molecules: 9! · 2^9
        residue = topology.addResidue("HOH", topology.addChain())
        atoms = [topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in ("O", "H1", "H2")]
        for k, atom in enumerate(atoms):
            system.addParticle(atom.element.mass)
            positions.append([0.4 * i + 0.076 * (k == 1) - 0.076 * (k == 2), 0.058 * (k > 0), 0.01 * i])
        topology.addBond(atoms[0], atoms[1])
        topology.addBond(atoms[0], atoms[2])
    with pytest.raises(TopologyError, match="Expected at most 50000 permutations"):
        bf.MolecularSystem(topology, system, positions).symmetry()
