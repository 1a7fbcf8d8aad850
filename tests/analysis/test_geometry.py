"""Sanity checks find what is wrong, and nothing where nothing is."""

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import backbone_torsions, check_geometry, inverted_chirality
from boltzflow.ensemble import Ensemble
from boltzflow.molecules.parameters import bond_terms
from boltzflow.units import thermal_energy


@pytest.fixture(scope="module")
def dipeptide():
    return bf.load_system("alanine_dipeptide")


def ensemble_of(dipeptide, positions):
    return Ensemble(positions, np.zeros(len(positions)), 300.0, topology=dipeptide.mdtraj_topology)


def test_torsions_of_the_reference(dipeptide):
    phi, psi = backbone_torsions(ensemble_of(dipeptide, dipeptide.positions[None]).to_mdtraj())
    assert (phi.name, psi.name) == ("phi ALA2", "psi ALA2")
    assert np.degrees([phi.values[0], psi.values[0]]) == pytest.approx([-145.64, 160.89], abs=0.1)


def test_the_minimum_is_sound(dipeptide):
    check = check_geometry(ensemble_of(dipeptide, dipeptide.positions[None]), dipeptide)
    assert check.share_outside == 0.0
    assert check.worst_rms < 2.5


def test_a_stretched_bond_is_found(dipeptide):
    """The hydrogen HA (atom 9), pulled out by 10 σ in half of the samples."""
    (term,) = [t for t in bond_terms(dipeptide.openmm_system) if t[:2] == (8, 9)]
    positions = np.stack([dipeptide.positions] * 2)
    along = positions[1, 9] - positions[1, 8]
    width = np.sqrt(thermal_energy(300.0) / term[3])
    positions[1, 9] = positions[1, 8] + along * (term[2] + 10 * width) / np.linalg.norm(along)
    check = check_geometry(ensemble_of(dipeptide, positions), dipeptide)
    assert check.share_outside == 0.5
    assert check.worst == "bond ALA2-CA ALA2-HA"
    assert check.worst_rms == pytest.approx(10 / np.sqrt(2), rel=0.01)


def test_a_mirror_image_has_inverted_chirality(dipeptide):
    positions = np.stack([dipeptide.positions, dipeptide.positions * [1, 1, -1]])
    assert inverted_chirality(ensemble_of(dipeptide, positions).to_mdtraj()).tolist() == [False, True]


def test_a_strained_alpha_carbon_keeps_its_hand(dipeptide):
    atoms = {atom.name: atom.index for atom in dipeptide.mdtraj_topology.residue(1).atoms}
    positions = dipeptide.positions.copy()
    middle = positions[[atoms[name] for name in ("N", "C", "CB")]].mean(0)
    positions[atoms["CA"]] = middle + 0.1 * (middle - positions[atoms["CA"]])  # just beyond their plane
    assert inverted_chirality(ensemble_of(dipeptide, positions[None]).to_mdtraj()).tolist() == [False]
