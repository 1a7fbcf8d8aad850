"""Free energies of torsions whose distribution is known: von Mises, weighted back from a uniform draw."""

import numpy as np
import pytest
from scipy import stats

from boltzflow.analysis import free_energy_profile, free_energy_surface, population
from boltzflow.units import thermal_energy

KAPPA, BINS, N = 2.0, 36, 40_000


def weighted_von_mises(seed, n=N):
    angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, n)
    return angle, KAPPA * np.cos(angle)


def true_shares():
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    return np.diff(stats.vonmises(KAPPA).cdf(edges))


def test_profile_agrees_with_the_truth_within_its_bootstrap_errors():
    angle, log_weights = weighted_von_mises(seed=0)
    profile = free_energy_profile(angle, log_weights, 300.0, bins=BINS)
    truth = -np.log(true_shares())
    difference = profile.values - (truth - truth.min())
    scores = (difference - np.average(difference, weights=profile.errors**-2)) / profile.errors
    assert abs(scores).max() < 3.8  # 36 bins
    assert 0.6 < scores.std() < 1.4
    values, errors = profile.kj_per_mol
    np.testing.assert_allclose(values, profile.values * thermal_energy(300.0))
    assert (errors > profile.errors).all()


def test_bootstrap_errors_are_the_scatter_of_repeats():
    """60 repeats: each bin's scatter is known to 9 %, the mean ratio over 36 bins to about 2 %."""
    shares = np.stack(
        [
            np.histogram(a, BINS, (-np.pi, np.pi), weights=np.exp(w))[0] / np.exp(w).sum()
            for a, w in (weighted_von_mises(seed, 4000) for seed in range(60))
        ]
    )
    profile = free_energy_profile(*weighted_von_mises(seed=0, n=4000), 300.0, bins=BINS)
    ratio = profile.errors / np.log(shares).std(0)
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)


def test_profile_is_the_same_for_the_same_seed():
    data = weighted_von_mises(seed=0, n=1000)
    first, second = (free_energy_profile(*data, 300.0, seed=3, replicates=20) for _ in range(2))
    np.testing.assert_array_equal(first.errors, second.errors)


def test_surface_is_the_sum_of_independent_profiles():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-np.pi, np.pi, (2, 400_000))
    surface = free_energy_surface(x, y, KAPPA * (np.cos(x) + np.cos(y)), 300.0, bins=12)
    shares = np.diff(stats.vonmises(KAPPA).cdf(surface.x.edges))
    truth = -np.log(np.outer(shares, shares))
    found = surface.values + np.log(np.exp(-surface.values).sum())  # −log p, as errors are those of p
    z = (found - truth) / surface.errors
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.3  # 144 z-scores
    assert np.abs(z).max() < 4.5


def test_axes_of_the_surface_are_not_mixed_up():
    surface = free_energy_surface(np.full(10, -3.0), np.full(10, 3.0), np.zeros(10), 300.0, bins=4)
    assert np.argwhere(np.isfinite(surface.values)).tolist() == [[0, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_population_agrees_with_the_truth_within_its_error(seed):
    found = population(*_region(seed))
    truth = stats.vonmises(KAPPA).cdf(2.2) - stats.vonmises(KAPPA).cdf(0.0)
    assert abs(found.value - truth) / found.error < 3.5
    free_energy = -thermal_energy(300.0) * np.log(truth / (1 - truth))
    assert abs(found.free_energy - free_energy) / found.free_energy_error < 3.5
    assert found.effective_frames < found.frames


def _region(seed):
    angle, log_weights = weighted_von_mises(seed)
    return angle, 0.0, 2.2, log_weights, 300.0


def test_population_of_the_whole_of_nothing_and_through_the_seam():
    angle = np.array([-3.0, 3.0, 0.5])
    empty = population(angle, -1.0, -0.5, np.zeros(3), 300.0)
    assert (empty.value, empty.frames, empty.free_energy) == (0.0, 0, None)
    assert empty.error == pytest.approx(1 / 3)
    assert population(angle, 2.5, -2.5, np.zeros(3), 300.0).frames == 2
    assert population(angle, -np.pi, np.pi, np.zeros(3), 300.0).value == 1.0
