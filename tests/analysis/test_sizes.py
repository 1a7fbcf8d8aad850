"""Radius of gyration and end-to-end distance against their definitions."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import Axis, end_to_end_distance, free_energy_profile, radius_of_gyration
from boltzflow.analysis.estimates.sizes import chain_ends
from boltzflow.errors import OptionError, TopologyError


def shaken(name: str, n: int = 20) -> mdtraj.Trajectory:
    system = bf.load_system(name)
    noise = np.random.default_rng(0).normal(scale=0.02, size=(n, system.n_atoms, 3))
    return mdtraj.Trajectory(system.positions + noise, system.mdtraj_topology)


def test_radius_of_gyration_by_pairs_of_atoms():
    """Rg² = Σ m_i m_j d_ij² / (2 M²), which needs no centre."""
    frames = shaken("alanine_dipeptide")
    m = np.array([atom.element.mass for atom in frames.topology.atoms])
    x = frames.xyz.astype(float)
    squares = np.square(x[:, :, None] - x[:, None]).sum(3)
    expected = np.sqrt(np.einsum("i,j,nij->n", m, m, squares) / 2) / m.sum()
    np.testing.assert_allclose(radius_of_gyration(frames), expected, rtol=1e-12)


def test_radius_of_two_masses():
    """A bond of length d between masses m and M: Rg = d √(mM)/(m + M)."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("HF", topology.add_chain())
    for symbol in ("H", "F"):
        topology.add_atom(symbol, mdtraj.element.get_by_symbol(symbol), residue)
    one = mdtraj.Trajectory(np.array([[[5.0, 0, 0], [5.092, 0, 0]]]), topology)
    h, f = (atom.element.mass for atom in topology.atoms)
    assert radius_of_gyration(one)[0] == pytest.approx(0.092 * np.sqrt(h * f) / (h + f), rel=1e-5)
    with pytest.raises(TopologyError, match="two heavy atoms"):
        end_to_end_distance(one)


@pytest.mark.parametrize(
    ("name", "ends"),
    [("ala3", ("ACE1-C", "NME5-N")), ("alanine_dipeptide", ("ACE1-C", "NME3-N")), ("chignolin", ("TYR1-N", "TYR10-C"))],
)
def test_ends_of_peptides(name, ends):
    frames = shaken(name)
    first, last = chain_ends(frames.topology)
    assert (str(frames.topology.atom(first)), str(frames.topology.atom(last))) == ends
    expected = mdtraj.compute_distances(frames, [[first, last]], periodic=False)[:, 0]
    np.testing.assert_allclose(end_to_end_distance(frames), expected, rtol=1e-5)


def test_ends_of_a_nucleic_acid():
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for k, phosphate in enumerate(([], ["P"], ["P"])):
        residue = topology.add_residue("DA", chain, resSeq=k + 1)
        for name in [*phosphate, "O5'", "C5'", "C4'", "C3'", "O3'"]:
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    assert [str(topology.atom(end)) for end in chain_ends(topology)] == ["DA1-O5'", "DA3-O3'"]


def test_other_molecules_have_their_largest_distance(monkeypatch):
    frames = shaken("butane")
    heavy = [atom.index for atom in frames.topology.atoms if atom.element.symbol == "C"]
    x = frames.xyz.astype(float)[:, heavy]
    expected = [max(np.linalg.norm(a - b) for a in frame for b in frame) for frame in x]
    np.testing.assert_allclose(end_to_end_distance(frames), expected)
    monkeypatch.setattr("boltzflow.analysis.estimates.sizes._AT_ONCE", 40)  # two frames in a block
    np.testing.assert_allclose(end_to_end_distance(frames), expected)


def test_chains_are_chosen_by_number():
    two = shaken("butane").stack(shaken("alanine_dipeptide"))
    np.testing.assert_allclose(end_to_end_distance(two, 1), end_to_end_distance(shaken("alanine_dipeptide")))
    with pytest.raises(OptionError, match="from 0 to 1; got 2"):
        end_to_end_distance(two, 2)


def test_both_are_observables():
    frames = shaken("alanine_dipeptide", 50)
    ensemble = bf.Ensemble(frames.xyz, None, 300.0, topology=frames.topology)
    for f in (radius_of_gyration, end_to_end_distance):
        found = ensemble.mean(f)
        assert found.value == pytest.approx(f(frames).mean())
        assert found.error == pytest.approx(f(frames).std() / 7, rel=0.05)
        axis = Axis(f(frames).min(), f(frames).max(), 5, unit="nm")
        assert np.isfinite(free_energy_profile(ensemble, f, axis).values).any()
