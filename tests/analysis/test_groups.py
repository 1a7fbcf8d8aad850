"""Copies of frames, marked as groups, change no error: with them nothing new is known."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import boltzflow.analysis as analysis
from boltzflow.analysis import (
    Axis,
    absolute_free_energy,
    circular_mean,
    compare_replicas,
    free_energy_profile,
    free_energy_surface,
    heat_capacity,
    histogram,
    kernel_density,
    means,
    population,
    population_of,
    representatives,
    state_populations,
    temperature_series,
)
from boltzflow.analysis.estimates.observables import Labelled
from boltzflow.ensemble import Ensemble
from tests.analysis.weighted import one_atom

N, COPIES = 300, 4


def frames(seed: int = 0) -> Ensemble:
    """Atoms on a line, with absolute weights."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(0.0, 0.5, (N, 1, 3))
    return Ensemble(positions, 10.0 * positions[:, 0, 0], 300.0, rng.normal(size=N), topology=one_atom(), absolute=True)


def x(trajectory):
    return trajectory.xyz[:, 0, 0].astype(float)


def place(trajectory):
    return trajectory.xyz[:, 0].astype(float)


def inside(ensemble: Ensemble, low: float, high: float) -> np.ndarray:
    values = ensemble.values(x)
    return (values > low) & (values < high)


ERRORS = {
    "mean": lambda e: e.mean(x).error,
    "mean of an array": lambda e: e.mean(place).error,
    "bootstrap": lambda e: e.mean(x, error="bootstrap").error,
    "quantile": lambda e: e.quantile(x, 0.3).error,
    "means": lambda e: list(means(e, lambda t: Labelled(["x", "y", "z"], place(t))).values()),
    "population": lambda e: population(e, x, 0.2, 2.0).error,
    "population of": lambda e: population_of(e, inside(e, 0.2, 2.0)).free_energy_error,
    "states": lambda e: state_populations(e, {"a": inside(e, -9, 0), "b": inside(e, 0.3, 9)}).covariance,
    "profile": lambda e: free_energy_profile(e, x, 12).errors,
    "surface": lambda e: free_energy_surface(e, x, lambda t: -x(t), 6).errors,
    "histogram": lambda e: histogram(e, x, Axis(-1.0, 1.0, 5)).errors,
    "kernel density": lambda e: kernel_density(e, x, Axis(-1.0, 1.0, 5), 0.2).errors,
    "circular mean": lambda e: circular_mean(e, x).error,
    "clusters": lambda e: representatives(e, 2, place).states.covariance,
    "heat capacity": lambda e: heat_capacity(e).error,
    "series": lambda e: temperature_series(e.replace(absolute=False), [310.0]).energy.error,
}
BIASED = {"kernel density"}  # its errors hold a bias, which does not fall with the number of frames
SQUARED = {"states", "clusters"}


def copied(ensemble: Ensemble, grouped: bool) -> Ensemble:
    found = ensemble[np.repeat(np.arange(N), COPIES)]
    return found if grouped else found.replace(groups=None)


@pytest.mark.parametrize("name", ERRORS)
def test_copies_in_groups_leave_errors_as_they_are(name):
    ensemble, errors = frames(), ERRORS[name]
    alone = np.asarray(errors(ensemble))
    # A quantile's goes by the shape of the weights' tail too, which is estimated from samples, copies and all.
    rtol = 0.05 if name == "quantile" else 1e-6
    np.testing.assert_allclose(errors(copied(ensemble, grouped=True)), alone, rtol=rtol)
    if name not in BIASED | {"means", "quantile"}:
        ratio = np.asarray(errors(copied(ensemble, grouped=False))) / alone
        assert np.nanmean(ratio) == pytest.approx(1 / COPIES if name in SQUARED else 1 / np.sqrt(COPIES), rel=0.2)


@pytest.mark.parametrize(
    "errors",
    [lambda e: absolute_free_energy(e).error, lambda e: compare_replicas([e, frames(1)]).log_z[0].error],
    ids=["free energy", "replicas"],
)
def test_copies_in_groups_make_no_error_of_log_z_smaller(errors):
    """As they are meant for descendants of as many samples, of which some have none, they are upper bounds."""
    ensemble = frames()
    assert errors(copied(ensemble, grouped=True).replace(absolute=True)) >= errors(ensemble)


COVERED = {
    *("absolute_free_energy", "circular_mean", "free_energy_profile", "free_energy_surface", "heat_capacity"),
    *("histogram", "kernel_density", "means", "population", "population_of", "representatives", "state_populations"),
    "temperature_series",
}
BY_STATES = {"rotamers", "pucker_populations", "hydrogen_bond_populations", "conformers"}
"""Their errors are those of `state_populations` and `population_of`."""
WITHOUT_ERRORS = {"check_geometry", "principal_components", "diagnose", "torus_density"}
WITHOUT_GROUPS = {"couplings"}  # said in its docstring
OTHER_ENSEMBLES = {"hamiltonian_moves", "independence_metropolis", "smooth", "unfold"}
BY_BLOCKS = {"compare"}  # its noise is that of groups: see test_comparison


def test_every_public_function_takes_an_ensemble_for_its_weights():
    """Loose weights come without groups, and nobody passes these. One that is added is checked above."""
    found = set()
    for name in analysis.__all__:
        function = getattr(analysis, name)
        if inspect.isfunction(function):
            parameters = list(inspect.signature(function).parameters)
            assert not {"log_weights", "weights", "groups"} & set(parameters), name
            found |= {name} if parameters[0] == "ensemble" else set()
    assert found == COVERED | BY_STATES | WITHOUT_ERRORS | WITHOUT_GROUPS | OTHER_ENSEMBLES | BY_BLOCKS
