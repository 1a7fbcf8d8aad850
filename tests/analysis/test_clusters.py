"""Projections and clusters of weighted samples whose answer is known."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from boltzflow.analysis import principal_components, representatives, rotamers, torsion_features
from boltzflow.analysis.report.html import _structures
from boltzflow.ensemble import Ensemble
from boltzflow.errors import NonFiniteError, OptionError, ShapeError, TopologyError
from tests.analysis.exact import chain
from tests.analysis.weighted import weighted


def wells(n: int = 3000, seed: int = 0) -> tuple[Ensemble, np.ndarray]:
    """A particle in three wells, drawn equally often, that hold 70, 20 and 10 % by their weights."""
    rng = np.random.default_rng(seed)
    which = rng.integers(3, size=n)
    positions = np.zeros((n, 1, 3))
    positions[:, 0, :2] = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])[which] + 0.05 * rng.normal(size=(n, 2))
    topology = mdtraj.Topology()
    topology.add_atom("X", mdtraj.element.argon, topology.add_residue("X", topology.add_chain()))
    log_weights = np.log([0.2, 0.7, 0.1])[which] + 0.3 * rng.normal(size=n)
    return Ensemble(positions, np.zeros(n), 300.0, log_weights, topology=topology), which


def places(trajectory: mdtraj.Trajectory) -> np.ndarray:
    return trajectory.xyz[:, 0]


def test_clusters_are_wells_and_their_shares_those_of_the_weights():
    ensemble, which = wells()
    ensemble.positions[5], ensemble.log_weights[5] = np.nan, -np.inf
    found = representatives(ensemble, 3, places)
    np.testing.assert_allclose(places(found.representatives.to_mdtraj()), [[1, 0, 0], [0, 0, 0], [0, 2, 0]], atol=0.02)
    assert found.labels[5] == -1
    for cluster, well in enumerate([1, 0, 2]):
        inside = (which == well) & (ensemble.weights > 0)
        np.testing.assert_array_equal(found.labels == cluster, inside)
        population = found.states.populations[f"cluster {cluster + 1}"]
        assert population.value == pytest.approx(ensemble.weights[inside].sum())
        assert abs(population.value - [0.7, 0.2, 0.1][cluster]) < 4 * population.error
    np.testing.assert_array_equal(ensemble.positions[found.frames], found.representatives.positions)


def test_centres_go_where_the_weight_is():
    """One cluster: its centre is the weighted mean, and the frame nearest to that stands for all."""
    ensemble, _ = wells()
    found = representatives(ensemble, 1, places)
    mean = ensemble.weights @ places(ensemble.to_mdtraj())
    nearest = np.square(places(ensemble.to_mdtraj()) - mean).sum(1).argmin()
    assert found.frames.tolist() == [nearest]


def test_principal_components_are_those_of_the_target():
    """A Gaussian of known axes, weighted back from one that is round; 20 ensembles of 4000."""
    rotation = np.array([[0.8, 0.6], [-0.6, 0.8]])
    angles, variances = [], []
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(4000, 2)) * 2.0
        along = x @ rotation.T
        log_weights = -0.5 * (along**2 / [4.0, 1.0] - along**2 / 4.0).sum(1)
        found = principal_components(weighted(log_weights), x)
        angles.append(np.cross(np.append(found.components[0], 0), np.append(rotation[0], 0))[2])
        variances.append(found.variances)
        assert found.total_variance == pytest.approx(found.variances.sum())
        np.testing.assert_allclose(found.components @ found.components.T, np.eye(2), atol=1e-12)
    for values, truth in ((angles, 0.0), (np.array(variances)[:, 0], 4.0), (np.array(variances)[:, 1], 1.0)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(19)


def test_a_projection_of_weighted_samples_has_their_variances():
    ensemble, _ = wells(400)
    features = places(ensemble.to_mdtraj())
    found = principal_components(ensemble, features, dimensions=2)
    coordinates = found(features)
    covariance = np.cov(coordinates.T, aweights=ensemble.weights, ddof=0)
    np.testing.assert_allclose(covariance, np.diag(found.variances), atol=1e-9)
    np.testing.assert_allclose(ensemble.weights @ coordinates, 0.0, atol=1e-9)


def test_the_page_shows_structures_with_the_shares_of_their_weights():
    """Five values of a torsion, drawn equally often: k-means, of frames that are drawn by their weights."""
    t = np.repeat([-2.5, -1.0, 0.0, 1.0, 2.5], 100) + 0.02 * np.random.default_rng(0).normal(size=500)
    positions = np.zeros((500, 4, 3))
    positions[:, 0, :2], positions[:, 2, 0], positions[:, 3, 0] = [-0.05, 0.14], 0.15, 0.2
    positions[:, 3, 1], positions[:, 3, 2] = 0.14 * np.cos(t), 0.14 * np.sin(t)
    log_weights = np.repeat(np.log([0.1, 0.5, 0.05, 0.2, 0.15]), 100)
    ensemble = Ensemble(positions, np.zeros(500), 300.0, log_weights, topology=chain().mdtraj_topology)
    states = rotamers(ensemble)
    assert states[0].arcs.names == ("-140°", "-60°", "0°", "60°", "140°")
    shown = _structures(ensemble, states)
    shares = ["50%", "20%", "15%", "10%", "5%"]
    angles = ["−60°", "60°", "140°", "−140°", "0°"]
    assert shown["labels"] == [
        f"{share}, torsion C0 C1 C2 C3 {angle}" for share, angle in zip(shares, angles, strict=True)
    ]
    assert len(shown["pdb"]) == 5
    few = _structures(ensemble[np.arange(3) * 100], states)["labels"]
    assert [label.split(",")[0] for label in few] == ["77%", "15%", "8%"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: representatives(e, 0, places), OptionError, "1 to 40 clusters"),
        (lambda e: representatives(e, 41, places), OptionError, "1 to 40 clusters"),
        (lambda e: representatives(e, 2, lambda _: np.zeros((40, 1))), OptionError, "differ in their features"),
        (lambda e: representatives(e, 2, lambda _: np.zeros(40)), ShapeError, "features"),
        (lambda e: representatives(e, 2, lambda _: np.full((40, 1), np.nan)), NonFiniteError, "finite values"),
        (lambda e: representatives(e, 2), TopologyError, "pass your own features"),
        (lambda e: principal_components(e, np.zeros((40, 1))), OptionError, "1 to 1 dimensions"),
        (lambda e: principal_components(e, np.zeros((4, 3))), ShapeError, "one value for each of 40"),
        (lambda e: principal_components(e, np.full((40, 3), np.nan)), NonFiniteError, "finite values"),
        (lambda e: torsion_features(e.to_mdtraj()), TopologyError, "a molecule with torsions"),
    ],
)
def test_impossible_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(wells(40)[0])
