"""Hydrogen bonds within a molecule: the criterion, who may donate and accept, and populations."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import hydrogen_bond_populations, hydrogen_bonds, intramolecular_hydrogen_bonds
from boltzflow.errors import OptionError


def chain(elements: str, extra: tuple[tuple[int, str], ...] = ()) -> mdtraj.Topology:
    """Atoms bonded one after the other, with further atoms bonded to some of them; names are element and index."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain(), resSeq=1)
    symbols = [*elements, *(symbol for _, symbol in extra)]
    atoms = [
        topology.add_atom(f"{symbol}{i}", mdtraj.element.get_by_symbol(symbol), residue)
        for i, symbol in enumerate(symbols)
    ]
    for i in range(1, len(elements)):
        topology.add_bond(atoms[i - 1], atoms[i])
    for i, (bound, _) in enumerate(extra, len(elements)):
        topology.add_bond(atoms[bound], atoms[i])
    return topology


def placed(topology: mdtraj.Topology, at: dict[int, tuple[float, float, float]]) -> mdtraj.Trajectory:
    """One frame: some atoms at these places, all others far away from everything."""
    x = 10.0 * np.arange(1, topology.n_atoms + 1)[:, None] * np.ones(3)
    for atom, place in at.items():
        x[atom] = place
    return mdtraj.Trajectory(x[None], topology)


def bent(angle: float, distance: float) -> dict[str, tuple[float, float, float]]:
    """Donor, hydrogen at the origin, and acceptor at an angle (degrees) and distance (nm) from it."""
    a = np.radians(angle)
    return {"donor": (0.1, 0, 0), "acceptor": (distance * np.cos(a), distance * np.sin(a), 0)}


@pytest.mark.parametrize(
    ("angle", "distance", "formed"),
    [(180, 0.249, True), (180, 0.251, False), (121, 0.2, True), (119, 0.2, False)],
)
def test_the_criterion(angle, distance, formed):
    at = bent(angle, distance)
    one = placed(chain("HOCCCO"), {0: (0, 0, 0), 1: at["donor"], 5: at["acceptor"]})
    names, values = intramolecular_hydrogen_bonds(one)
    assert names == (["MOL1-O1-H0 → MOL1-O5"] if formed else [])
    assert values.shape == (1, len(names))


@pytest.mark.parametrize(
    ("elements", "formed"),
    [("HOCCO", False), ("HOCCCO", True), ("HNCCCF", True), ("HSCCCN", True), ("HOCCCS", True), ("HCCCCO", False)],
)
def test_donors_acceptors_and_how_many_bonds_are_between_them(elements, formed):
    last = len(elements) - 1
    one = placed(chain(elements), {0: (0, 0, 0), 1: (0.1, 0, 0), last: (-0.2, 0, 0)})
    assert bool(intramolecular_hydrogen_bonds(one).names) is formed
    closer = intramolecular_hydrogen_bonds(one, fewest_bonds=last - 1)
    assert bool(closer.names) is (elements[1] != "C")


@pytest.mark.parametrize(("element", "neighbours", "accepts"), [("N", 3, True), ("N", 4, False), ("S", 4, False)])
def test_atoms_without_a_lone_pair_do_not_accept(element, neighbours, accepts):
    topology = chain(f"HOCCC{element}", tuple((5, "C") for _ in range(neighbours - 1)))
    one = placed(topology, {0: (0, 0, 0), 1: (0.1, 0, 0), 5: (-0.2, 0, 0)})
    assert bool(intramolecular_hydrogen_bonds(one).names) is accepts


def test_other_molecules_do_not_count():
    two = chain("HOCCCO").join(chain("HOCCCO"))
    one = placed(two, {0: (0, 0, 0), 1: (0.1, 0, 0), 11: (-0.2, 0, 0)})
    assert intramolecular_hydrogen_bonds(one).names == []


def test_bonds_of_a_peptide_are_those_of_mdtraj_that_are_far_enough_apart():
    system, rng = bf.load_system("ala5"), np.random.default_rng(0)
    x = system.positions + rng.normal(scale=0.02, size=(40, system.n_atoms, 3))
    frames = mdtraj.Trajectory(x, system.mdtraj_topology)
    ours, theirs = intramolecular_hydrogen_bonds(frames), hydrogen_bonds(frames)
    assert set(ours.names) <= set(theirs.names)
    assert ours.names
    for name, column in zip(ours.names, ours.values.T, strict=True):
        np.testing.assert_array_equal(column, theirs.values[:, theirs.names.index(name)])
    every = intramolecular_hydrogen_bonds(frames, fewest_bonds=2)
    assert {name for name in theirs.names if name not in ours.names} <= set(every.names)
    left_out = [name for name in every.names if name not in ours.names]
    graph, atoms = system.bond_graph, [str(atom) for atom in system.mdtraj_topology.atoms]
    for name in left_out:
        donor, acceptor = name.split(" → ")
        assert graph.distances(atoms.index(donor.rpartition("-")[0]))[atoms.index(acceptor)] < 4


def test_populations_are_weighted_sorted_and_not_too_small():
    topology = chain("HOCCCO", ((3, "O"),))
    far, near = {0: (0, 0, 0), 1: (0.1, 0, 0)}, {0: (0, 0, 0), 1: (0.1, 0, 0), 5: (-0.2, 0, 0)}
    x = np.concatenate([placed(topology, at).xyz for at in (far, near)])
    rng = np.random.default_rng(0)
    inside = rng.random(2000) < 0.5
    logs = np.where(inside, np.log(0.3 / 0.5), np.log(0.7 / 0.5))
    ensemble = bf.Ensemble(x[inside.astype(int)], None, 300.0, logs, topology=topology)
    (found,) = hydrogen_bond_populations(ensemble).values()
    assert abs(found.value - 0.3) < 4 * found.error < 0.06
    assert str(found.verdict).startswith("Trust")
    assert hydrogen_bond_populations(ensemble, smallest=0.4) == {}


def test_failed_frames_are_left_out():
    topology = chain("HOCCCO")
    x = np.concatenate([placed(topology, {0: (0, 0, 0), 1: (0.1, 0, 0), 5: (-0.2, 0, 0)}).xyz] * 2)
    x[1] = np.nan
    one = bf.Ensemble(x, [0.0, np.inf], 300.0, topology=topology)
    assert [found.value for found in hydrogen_bond_populations(one).values()] == [1.0]


def test_too_few_bonds_are_refused():
    with pytest.raises(OptionError, match="at least 2"):
        intramolecular_hydrogen_bonds(placed(chain("HOCCCO"), {}), fewest_bonds=1)
