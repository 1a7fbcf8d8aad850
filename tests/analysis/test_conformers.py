"""Conformers: the minima of butane, cyclohexane and alanine dipeptide, and what their table holds."""

from __future__ import annotations

import sys

import mdtraj
import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow.analysis import conformers
from boltzflow.analysis.estimates.conformer_table import Conformers
from boltzflow.ensemble import Ensemble
from boltzflow.errors import MissingDependencyError, OptionError, ShapeError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import thermal_energy

CARBONS = [[0, 4, 7, 10]]


def torsion(system, positions) -> np.ndarray:
    frames = mdtraj.Trajectory(positions, system.mdtraj_topology)
    return np.degrees(mdtraj.compute_dihedrals(frames, CARBONS, periodic=False)[:, 0])


@pytest.fixture(scope="module")
def butane():
    return bf.load_system("butane")


@pytest.fixture(scope="module")
def ensemble(butane) -> Ensemble:
    """Samples of butane's base with weights that have nothing to do with it; one frame has failed."""
    samples = BoltzmannGenerator.for_system(butane, preset="quick", seed=0).sample(120, seed=1)
    finite = samples[samples.weights > 0]
    logs = np.random.default_rng(0).normal(scale=0.3, size=len(finite))
    logs[5] = -np.inf
    return Ensemble(finite.positions, finite.energies, 300.0, logs, topology=finite.topology)


@pytest.fixture(scope="module")
def found(ensemble, butane) -> Conformers:
    return conformers(ensemble, butane)


def test_butane_has_three_of_which_two_are_mirror_images(found, butane):
    assert len(found) == 3
    angles = torsion(butane, found.structures.xyz)
    by_strain = np.argsort([one.strain for one in found.conformers])
    assert abs(angles[by_strain[0]]) == pytest.approx(180, abs=1)
    assert angles[by_strain[1]] == pytest.approx(-angles[by_strain[2]], abs=1)
    assert abs(angles[by_strain[1]]) == pytest.approx(65, abs=6)
    strains = sorted(one.strain for one in found.conformers)
    assert strains[0] == 0.0
    assert strains[1] == pytest.approx(strains[2], abs=0.02)
    assert 2.0 < strains[1] < 5.0


def test_frames_belong_to_the_rotamer_of_their_torsion(found, ensemble, butane):
    """All but those near a barrier: butane's are at 0° and ±120°."""
    used = ensemble.weights > 0
    assert (found.labels[~used] == -1).all()
    angles = torsion(butane, ensemble.positions)
    minima = torsion(butane, found.structures.xyz)
    apart = np.abs(np.angle(np.exp(1j * np.radians(angles[:, None] - minima))))
    near = used & (apart.min(1) < np.radians(40))
    assert near.sum() > 80
    np.testing.assert_array_equal(found.labels[near], apart.argmin(1)[near])


def test_populations_are_sums_of_weights_and_add_up_to_one(found, ensemble):
    values = [one.population.value for one in found.conformers]
    expected = [ensemble.weights[found.labels == k].sum() for k in range(3)]
    np.testing.assert_allclose(values, expected)
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1.0)
    assert found.states.unassigned == pytest.approx(0.0)
    kt = thermal_energy(300.0)
    for one in found.conformers:
        assert one.free_energy.value == pytest.approx(-kt * np.log(one.population.value / values[0]))
    assert found.conformers[0].free_energy == (0.0, 0.0)
    assert found.conformers[1].free_energy.error > 0


def test_energies_are_those_of_the_structures(found, butane):
    positions = torch.from_numpy(np.stack([one.positions for one in found.conformers]))
    energy, forces = butane.potential().energy_and_forces(positions)
    np.testing.assert_allclose(energy.numpy(), [one.energy for one in found.conformers])
    assert forces.norm(dim=2).max() < 0.2
    lowest = min(one.energy for one in found.conformers)
    assert [one.strain for one in found.conformers] == pytest.approx([one.energy - lowest for one in found.conformers])


def test_equivalent_atoms_may_change_places(butane, tmp_path):
    """Turned methyls and the chain from its other end are the same conformer; a mirror image is another."""
    symmetry = butane.symmetry()
    rng = np.random.default_rng(0)
    x = [butane.positions]
    for _ in range(5):
        order = np.arange(butane.n_atoms)
        for factor in symmetry.factors:
            order[list(factor.atoms)] = rng.permutation(factor.elements)[0]
        x.append(butane.positions[order])
    same = conformers(Ensemble(np.array(x), None, 300.0, topology=butane.mdtraj_topology), butane)
    assert len(same) == 1
    same.write_pdb(tmp_path / "one.pdb")
    assert " 99.99 " in (tmp_path / "one.pdb").read_text()


def test_both_chairs_of_cyclohexane_are_one_conformer():
    system = bf.load_system("cyclohexane")
    both = np.stack([system.positions, -system.positions])
    assert len(conformers(Ensemble(both, None, 300.0, topology=system.mdtraj_topology), system)) == 1


def test_given_states_have_the_minimum_that_most_of_them_reach(ensemble, found, butane):
    used = ensemble.weights > 0
    trans = np.abs(torsion(butane, ensemble.positions)) > 120
    given = conformers(ensemble, butane, {"trans": trans, "gauche": ~trans})
    assert {one.name for one in given.conformers} == {"trans", "gauche"}
    by_name = {one.name: one for one in given.conformers}
    assert by_name["trans"].population.value == pytest.approx(ensemble.weights[used & trans].sum())
    assert by_name["trans"].strain == 0.0
    assert by_name["gauche"].energy == pytest.approx(max(one.energy for one in found.conformers), abs=0.02)


def test_states_that_are_no_partition_are_refused(ensemble, butane):
    n = len(ensemble)
    every = np.ones(n, bool)
    with pytest.raises(OptionError, match="exactly one state"):
        conformers(ensemble, butane, {"a": every, "b": every})
    with pytest.raises(OptionError, match="exactly one state"):
        conformers(ensemble, butane, {"a": np.arange(n) < 3})
    with pytest.raises(OptionError, match="b have none"):
        conformers(ensemble, butane, {"a": every, "b": ~every})
    with pytest.raises(ShapeError, match="one boolean"):
        conformers(ensemble, butane, {"a": every[:3]})
    with pytest.raises(ShapeError, match="18 atoms"):
        conformers(ensemble, bf.load_system("cyclohexane"))


def test_the_table(found):
    text = str(found)
    assert "conformer 1" in text
    assert "±" in text
    assert len(text.splitlines()) == 4
    rows = found.rows()
    assert [row["conformer"] for row in rows] == ["conformer 1", "conformer 2", "conformer 3"]
    for row in rows:
        assert 0 <= row["population_low"] <= row["population"] <= row["population_high"] <= 1


def test_pdb_has_a_model_for_each(found, tmp_path):
    found.write_pdb(tmp_path / "conformers.pdb")
    read = mdtraj.load(tmp_path / "conformers.pdb")
    np.testing.assert_allclose(read.xyz, found.structures.xyz, atol=2e-4)
    assert read.topology.n_bonds == found.structures.topology.n_bonds
    first = next(
        line for line in (tmp_path / "conformers.pdb").read_text().splitlines() if line[:4] in ("ATOM", "HETA")
    )
    assert float(first[60:66]) == pytest.approx(100 * found.conformers[0].population.value, abs=0.01)


def test_sdf_has_bond_orders_and_fields(tmp_path):
    chem = pytest.importorskip("rdkit.Chem")
    system = bf.load_system("alanine_dipeptide")
    one = conformers(Ensemble(system.positions[None], None, 300.0, topology=system.mdtraj_topology), system)
    one.write_sdf(tmp_path / "conformers.sdf")
    (molecule,) = chem.SDMolSupplier(str(tmp_path / "conformers.sdf"), removeHs=True)
    assert chem.MolToSmiles(molecule) == chem.CanonSmiles("CC(=O)N[C@@H](C)C(=O)NC")
    assert molecule.GetProp("_Name") == "conformer 1"
    assert float(molecule.GetProp("population")) == 1.0
    assert float(molecule.GetProp("strain")) == 0.0
    positions = chem.SDMolSupplier(str(tmp_path / "conformers.sdf"), removeHs=False)[0].GetConformer().GetPositions()
    np.testing.assert_allclose(positions, 10 * one.structures.xyz[0], atol=1e-4)
    with pytest.raises(OptionError, match="charge 1"):
        one.write_sdf(tmp_path / "charged.sdf", charge=1)


def test_pandas_gets_the_rows(found):
    pandas = pytest.importorskip("pandas")
    frame = found.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["population"].sum() == pytest.approx(1.0)
    assert list(frame.columns) == list(found.rows()[0])


def test_without_the_packages_there_is_a_sentence(found, monkeypatch, tmp_path):
    for name in ("pandas", "rdkit", "rdkit.Chem"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"pandas.*boltzflow\[interop\]"):
        found.to_pandas()
    with pytest.raises(MissingDependencyError, match=r"rdkit.*boltzflow\[interop\]"):
        found.write_sdf(tmp_path / "x.sdf")
