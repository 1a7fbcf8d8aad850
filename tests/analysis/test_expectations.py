"""Every estimate against a known answer: no bias beyond its error, an error that is the scatter, intervals that hold.

A standard normal distribution is drawn from a wider one that is off by half a width, and its exact weights are blurred
by log-normal factors of mean one, which leaves all answers as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from boltzflow.analysis import (
    Axis,
    arc,
    circular_mean,
    free_energy_profile,
    free_energy_surface,
    histogram,
    kernel_density,
    population,
    population_of,
    state_populations,
)
from boltzflow.ensemble import Ensemble
from boltzflow.units import thermal_energy
from tests.analysis.weighted import weighted

NORMAL = stats.norm
BLUR = 0.5  # with it the effective sample size is about 65 %
AXIS = Axis(-2.0, 2.0, bins=8)
KT = thermal_energy(300.0)


def draw(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, 1.3, n)
    log_weights = NORMAL.logpdf(x) - NORMAL.logpdf(x, 0.5, 1.3) + BLUR * rng.normal(size=n) - BLUR**2 / 2
    return x, log_weights


def bin_share(low: float, high: float) -> float:
    return float(NORMAL.cdf(high) - NORMAL.cdf(low))


def profile_bin(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """The bin from 0.5 to 1, relative to the one below it."""
    profile = free_energy_profile(weighted(w), x, AXIS, replicates=2, zero=0.2)
    return profile.values[5], profile.errors[5]


def surface_bin(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """The quarter of the plane where x and another variable, independent of it, are both positive, to its opposite."""
    y = np.random.default_rng(int(1e6 * abs(x[0]))).uniform(-1.0, 1.0, len(x))
    axes = Axis(-9.0, 9.0, bins=2), Axis(-1.0, 1.0, bins=2)
    surface = free_energy_surface(weighted(w), x, y, axes, replicates=2, zero=(-1.0, -0.5))
    return surface.values[1, 1], surface.errors[1, 1]


def between_states(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """States that leave a gap: their errors are correlated."""
    found = state_populations(weighted(w), {"left": x < -0.2, "right": x > 0.4})
    return found.differences[0, 1], found.errors[0, 1]


def overlapping_states(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    found = state_populations(weighted(w), {"most": x < 1.0, "half": x < 0.0})
    return found.differences[0, 1], found.errors[0, 1]


CASES: dict[str, tuple[Callable, float]] = {
    "mean": (lambda x, w: weighted(w).mean(x), 0.0),
    "mean by bootstrap": (lambda x, w: weighted(w).mean(x, error="bootstrap", replicates=60), 0.0),
    "mean of a function": (lambda x, w: weighted(w).mean(x**2), 1.0),
    "share": (lambda x, w: weighted(w).mean(x > 0.5), bin_share(0.5, np.inf)),
    "median": (lambda x, w: weighted(w).quantile(x), 0.0),
    "upper decile": (lambda x, w: weighted(w).quantile(x, 0.9), NORMAL.ppf(0.9)),
    "circular mean": (lambda x, w: circular_mean(weighted(w), np.angle(np.exp(1j * (x + 3.0)))), 3.0),
    "bin of a histogram": (lambda x, w: both(histogram(weighted(w), x, AXIS), 5), bin_share(0.5, 1.0) / 0.5),
    "density": (lambda x, w: both(kernel_density(weighted(w), x, AXIS, bandwidth=0.05), 5), NORMAL.pdf(0.75)),
    "density on a circle": (
        lambda x, w: both(kernel_density(weighted(w), x, Axis(-8.0, 8.0, 16, periodic=True), bandwidth=0.05), 7),
        NORMAL.pdf(-0.5),
    ),
    "bin of a profile": (profile_bin, -np.log(bin_share(0.5, 1.0) / bin_share(0.0, 0.5))),
    "bin of a surface": (surface_bin, 0.0),
    "population": (lambda x, w: both(population(weighted(w), x, 0.0, 2.0)), bin_share(0.0, 2.0)),
    "free energy of a region": (
        lambda x, w: (lambda p: (p.free_energy, p.free_energy_error))(population_of(weighted(w), x > 0.5)),
        -KT * np.log(bin_share(0.5, np.inf) / bin_share(-np.inf, 0.5)),
    ),
    "between states": (between_states, -KT * np.log(bin_share(0.4, np.inf) / bin_share(-np.inf, -0.2))),
    "between overlapping states": (overlapping_states, -KT * np.log(0.5 / NORMAL.cdf(1.0))),
}


def both(found, place: int | None = None) -> tuple[float, float]:
    if place is None:
        return found.value, found.error
    return found.values[place], found.errors[place]


def scores(name: str, repeats: int, n: int) -> np.ndarray:
    estimate, truth = CASES[name]
    found = np.array([tuple(estimate(*draw(seed, n))) for seed in range(repeats)])
    return (found[:, 0] - truth) / found[:, 1]


@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_the_estimate(name):
    """100 ensembles of 3000 samples: χ² of their z-scores within its central 99.9 %."""
    z = scores(name, 100, 3000)
    assert np.abs(z).max() < 4.0
    low, high = stats.chi2(len(z)).ppf([5e-4, 1 - 5e-4])
    assert low < (z**2).sum() < high


# Either quantile takes longer than all others together; the upper decile has the fewer samples beyond it.
SMALL = [pytest.param(name, marks=pytest.mark.slow if name == "median" else ()) for name in CASES]


@pytest.mark.parametrize("name", SMALL)
def test_intervals_of_small_ensembles_hold(name):
    """400 ensembles of 300 samples, some 200 effective ones."""
    covered = (np.abs(scores(name, 400, 300)) < 1.96).mean()
    assert 0.90 < covered < 0.99


def test_both_ways_to_an_error_agree():
    """The scatter of 1000 replicates is known to 2.2 %; a column each of three observables, one of them a share."""
    x, log_weights = draw(0, 4000)
    ensemble = weighted(log_weights)
    values = np.stack([x, x**2, x > 1.0], 1)
    delta, drawn = ensemble.mean(values), ensemble.mean(values, error="bootstrap", replicates=1000)
    np.testing.assert_allclose(delta.value, drawn.value, rtol=1e-12)
    np.testing.assert_allclose(delta.error, drawn.error, rtol=0.08)
    profile = free_energy_profile(ensemble, x, AXIS, replicates=2, zero=0.2)
    states = state_populations(ensemble, {"zero": (x >= 0.0) & (x < 0.5), "bin": (x >= 0.5) & (x < 1.0)})
    assert profile.errors[5] == pytest.approx(states.errors[0, 1] / KT, rel=1e-3)


@pytest.mark.parametrize("bonds", [4, 10])
def test_end_to_end_distance_of_an_ideal_chain(bonds):
    """⟨R²⟩ = N b² of freely jointed bonds, from chains that were drawn stretched along z (von Mises–Fisher)."""
    length, pull = 0.38, 0.6

    def z_score(seed: int) -> float:
        rng = np.random.default_rng(seed)
        u = rng.uniform(size=(4000, bonds))
        along = 1.0 + np.log(u + (1 - u) * np.exp(-2 * pull)) / pull
        azimuth, across = rng.uniform(-np.pi, np.pi, u.shape), np.sqrt(1 - along**2)
        steps = length * np.stack([across * np.cos(azimuth), across * np.sin(azimuth), along], -1)
        positions = np.cumsum(steps, axis=1)
        ensemble = Ensemble(positions, np.zeros(4000), 300.0, log_weights=-pull * along.sum(1))
        value, error = ensemble.mean(np.square(ensemble.positions[:, -1]).sum(1))
        return (value - bonds * length**2) / error

    z = np.array([z_score(seed) for seed in range(40)])
    assert np.abs(z).max() < 4.0
    low, high = stats.chi2(len(z)).ppf([5e-4, 1 - 5e-4])
    assert low < (z**2).sum() < high


def test_populations_of_a_gaussian_mixture():
    """Wells of 70, 25 and 5 %, from one wide Gaussian: all shares and all differences at once."""
    parts = [(0.70, -3.0, 0.6), (0.25, 0.0, 0.5), (0.05, 3.0, 0.7)]

    def share(low: float, high: float) -> float:
        return sum(p * (NORMAL.cdf(high, m, s) - NORMAL.cdf(low, m, s)) for p, m, s in parts)

    edges = [(-np.inf, -1.4), (-1.4, 1.4), (1.4, np.inf)]
    truth = np.array([share(*ends) for ends in edges])
    z, statistics = [], []
    for seed in range(60):
        x = np.random.default_rng(seed).normal(-1.0, 2.5, 4000)
        log_weights = np.log(sum(p * NORMAL.pdf(x, m, s) for p, m, s in parts)) - NORMAL.logpdf(x, -1.0, 2.5)
        states = {f"{low:g}": (x >= low) & (x < high) for low, high in edges}
        found = state_populations(weighted(log_weights), states)
        assert found.unassigned == found.overlap == 0.0
        deviation = np.array([p.value for p in found.populations.values()]) - truth
        statistics.append(deviation[:2] @ np.linalg.solve(found.covariance[:2, :2], deviation[:2]))
        exact = -KT * (np.log(truth) - np.log(truth)[:, None])
        z.append(((found.differences - exact) / np.where(found.errors > 0, found.errors, 1.0))[np.triu_indices(3, 1)])
    z = np.array(z)
    assert np.abs(z).max() < 4.0
    low, high = stats.chi2(60).ppf([5e-4, 1 - 5e-4])
    assert ((z**2).sum(0) > low).all()
    assert ((z**2).sum(0) < high).all()
    low, high = stats.chi2(120).ppf([5e-4, 1 - 5e-4])  # with the covariance, two of three shares are independent
    assert low < sum(statistics) < high


def test_a_region_of_two_torsions_is_arcs_joined():
    """Independent von Mises angles: the share of a rectangle through the seam is a product."""
    law = stats.vonmises(1.0)
    exact = 2 * law.cdf(-2.5) * law.cdf(0.0)
    z = []
    for seed in range(40):
        x, y = np.random.default_rng(seed).uniform(-np.pi, np.pi, (2, 4000))
        inside = arc(x, 2.5, -2.5) & arc(y, -np.pi, 0.0)
        found = population_of(weighted(np.cos(x) + np.cos(y)), inside)
        z.append((found.value - exact) / found.error)
    assert np.abs(z).max() < 4.0
