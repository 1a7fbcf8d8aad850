"""Free energies whose distribution is known: von Mises, weighted back from a uniform draw, and a harmonic well."""

import numpy as np
import pytest
from scipy import stats

from boltzflow.analysis import Axis, free_energy_profile, free_energy_surface
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.units import thermal_energy
from tests.analysis.weighted import equal, weighted

KAPPA, BINS, N = 2.0, 36, 40_000


def weighted_von_mises(seed, n=N):
    angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, n)
    return angle, KAPPA * np.cos(angle)


def true_shares():
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    return np.diff(stats.vonmises(KAPPA).cdf(edges))


def test_profile_agrees_with_the_truth_within_its_bootstrap_errors():
    angle, log_weights = weighted_von_mises(seed=0)
    profile = free_energy_profile(weighted(log_weights), angle, bins=BINS)
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
    angle, log_weights = weighted_von_mises(seed=0, n=4000)
    profile = free_energy_profile(weighted(log_weights), angle, bins=BINS)
    ratio = profile.errors / np.log(shares).std(0)
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)


def test_profile_is_the_same_for_the_same_seed():
    angle, log_weights = weighted_von_mises(seed=0, n=1000)
    ensemble = weighted(log_weights)
    first, second = (free_energy_profile(ensemble, angle, seed=3, replicates=20) for _ in range(2))
    np.testing.assert_array_equal(first.errors, second.errors)


def test_surface_is_the_sum_of_independent_profiles():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-np.pi, np.pi, (2, 400_000))
    surface = free_energy_surface(weighted(KAPPA * (np.cos(x) + np.cos(y))), x, y, bins=12)
    shares = np.diff(stats.vonmises(KAPPA).cdf(surface.x.edges))
    truth = -np.log(np.outer(shares, shares))
    found = surface.values + np.log(np.exp(-surface.values).sum())  # −log p, as errors are those of p
    z = (found - truth) / surface.errors
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.3  # 144 z-scores
    assert np.abs(z).max() < 4.5


def test_axes_of_the_surface_are_not_mixed_up():
    surface = free_energy_surface(equal(10), np.full(10, -3.0), np.full(10, 3.0), bins=4)
    assert np.argwhere(np.isfinite(surface.values)).tolist() == [[0, 3]]


def test_a_profile_along_a_line_is_that_of_the_samples_within_it():
    """A harmonic oscillator, σ = 0.01 nm, from a wider draw: F = x²/2σ² + const, integrated over each bin."""
    rng, sigma = np.random.default_rng(0), 0.01
    x = rng.normal(0.15, 1.5 * sigma, N)
    log_weights = stats.norm.logpdf(x, 0.15, sigma) - stats.norm.logpdf(x, 0.15, 1.5 * sigma)
    axis = Axis(0.13, 0.18, bins=20, unit="nm")
    profile = free_energy_profile(weighted(log_weights), x, axis)
    truth = -np.log(np.diff(stats.norm(0.15, sigma).cdf(axis.edges)))
    seen = np.isfinite(profile.values)
    np.testing.assert_allclose(profile.centers, axis.centers)
    difference = (profile.values - (truth - truth.min()))[seen]
    errors = profile.errors[seen]
    scores = (difference - np.average(difference, weights=errors**-2)) / errors
    assert abs(scores).max() < 3.8
    assert 0.6 < scores.std() < 1.5
    parabola = (axis.centers - 0.15) ** 2 / (2 * sigma**2)
    middle = np.abs(axis.centers - 0.15) < 1.5 * sigma
    assert np.ptp((profile.values - parabola)[middle]) < 0.1  # but for the curvature within a bin


def test_a_surface_of_a_line_and_a_circle():
    x, y = np.array([0.1, 0.1, 0.9, 5.0]), np.array([-3.0, 3.2, 0.0, 0.0])
    axes = Axis(0.0, 1.0, bins=2, unit="nm"), Axis.torsion(bins=2)
    surface = free_energy_surface(equal(4), x, y, axes, replicates=2)
    assert (surface.x, surface.y) == axes
    np.testing.assert_array_equal(surface.values, [[0.0, np.inf], [np.inf, np.log(2.0)]])


def test_a_value_that_is_lost_is_not_taken_for_a_bin():
    with pytest.raises(NonFiniteError, match="1 are not"):
        free_energy_profile(equal(2), [0.0, np.nan])
    with pytest.raises(OptionError, match="all lie outside"):
        free_energy_profile(weighted([0.0, -np.inf]), [0.0, np.nan], Axis(1.0, 2.0, bins=3))
    with pytest.raises(ShapeError, match="one value for each"):
        free_energy_profile(equal(2), np.zeros((2, 1)))


def test_one_group_knows_no_error():
    angle, log_weights = weighted_von_mises(seed=0, n=1000)
    profile = free_energy_profile(weighted(log_weights, np.zeros(1000, int)), angle, bins=4)
    assert np.isposinf(profile.errors).all()
