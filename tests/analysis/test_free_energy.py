"""Free energies whose distribution is known: von Mises, weighted back from a uniform draw, and a harmonic well."""

from functools import cache

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


def test_errors_are_the_scatter_of_repeats_of_the_difference_to_the_zero():
    """300 repeats: the scatter is known to 4 %, that of the zero, which all bins share, included."""
    shares = np.stack(
        [
            np.histogram(a, BINS, (-np.pi, np.pi), weights=np.exp(w))[0] / np.exp(w).sum()
            for a, w in (weighted_von_mises(seed, 4000) for seed in range(300))
        ]
    )
    profiles = [
        free_energy_profile(weighted(log_weights), angle, bins=BINS, replicates=2, zero=0.05)
        for angle, log_weights in (weighted_von_mises(seed, 4000) for seed in range(20))
    ]
    profile = profiles[0]
    (zero,) = np.flatnonzero(profile.values == 0.0)
    others = np.arange(BINS) != zero
    differences = np.log(shares) - np.log(shares[:, zero, None])
    ratio = np.mean([p.errors for p in profiles], 0)[others] / differences.std(0)[others]
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)


def test_profile_is_the_same_for_the_same_seed():
    angle, log_weights = weighted_von_mises(seed=0, n=1000)
    ensemble = weighted(log_weights)
    first, second = (free_energy_profile(ensemble, angle, seed=3, replicates=20) for _ in range(2))
    np.testing.assert_array_equal(first.extremes, second.extremes)


def test_surface_is_the_sum_of_independent_profiles():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-np.pi, np.pi, (2, 400_000))
    surface = free_energy_surface(weighted(KAPPA * (np.cos(x) + np.cos(y))), x, y, bins=12, zero="mean")
    shares = np.diff(stats.vonmises(KAPPA).cdf(surface.x.edges))
    truth = -np.log(np.outer(shares, shares) * shares.size**2)
    z = (surface.values - truth) / surface.errors
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
    surface = free_energy_surface(equal(4), x, y, axes, replicates=2, zero=(0.1, -1.0))
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


@cache
def shares_of_two_basins() -> np.ndarray:
    """Of 72 bins."""
    edges = np.linspace(-np.pi, np.pi, 73)
    parts = ((0.9, 4.0, -1.4), (0.1, 8.0, 1.0))
    return sum(w * np.diff(stats.vonmises(kappa).cdf(edges - place)) for w, kappa, place in parts)


def two_basins(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=n) < 0.9, rng.vonmises(-1.4, 4.0, n), rng.vonmises(1.0, 8.0, n))


@pytest.mark.parametrize("zero", ["lowest", "mean", -1.4, (-2.0, -1.0)])
def test_bins_hold_the_difference_to_the_zero(zero):
    """40 ensembles of 5000 frames: 95 % of the bins with 20 frames and more, and a flat truth about its own lowest."""
    held, flat = [], []
    for seed in range(40):
        angle, shares = two_basins(seed, 5000), shares_of_two_basins()
        profile = free_energy_profile(equal(5000), angle, replicates=2, zero=zero)
        of_zero = shares.max() if zero == "lowest" else shares @ profile.zero
        seen = (profile.errors > 0) & (shares * 5000 > 20)
        low, high = profile.interval(0.95)
        held.append(((low < -np.log(shares / of_zero)) & (-np.log(shares / of_zero) < high))[seen].mean())
        uniform = np.random.default_rng(seed).uniform(-np.pi, np.pi, 5000)
        level = free_energy_profile(equal(5000), uniform, replicates=2, zero=zero)
        flat.append((np.abs(level.values[level.errors > 0]) < 1.96 * level.errors[level.errors > 0]).mean())
    assert 0.92 < np.mean(held) < 0.98
    assert 0.92 < np.mean(flat) < 0.98


def test_a_band_holds_the_whole_profile():
    """100 ensembles of 4000 frames on 12 bins: some 95 hold the exact profile everywhere."""
    shares = np.diff(stats.vonmises(2.0).cdf(np.linspace(-np.pi, np.pi, 13)))
    held = 0
    for seed in range(100):
        angle = stats.vonmises(2.0).rvs(4000, random_state=np.random.default_rng(seed))
        profile = free_energy_profile(equal(4000), angle, 12, zero="mean")
        low, high = profile.band(0.95)
        truth = -np.log(shares * 12)
        held += bool(((low <= truth) & (truth <= high)).all())
    assert 88 <= held <= 100


@pytest.mark.parametrize("zero", ["top", 9.0, (5.0, 6.0), "lowest of all"])
def test_a_zero_outside_is_refused(zero):
    with pytest.raises(OptionError, match=r"Expected (a )?zero"):
        free_energy_profile(equal(3), [0.1, 0.1, 0.3], Axis(0.0, 0.4, bins=2), zero=zero)


def test_intervals_of_rare_bins_miss_on_both_sides():
    """400 ensembles of 1000 weighted frames, 3 % of them in the bin: few frames say little of how high F may be."""
    truth, below, above = -np.log(0.03 / 0.97), 0, 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        place = np.where(rng.uniform(size=1000) < 0.03, 1.5, 0.5)
        profile = free_energy_profile(weighted(rng.normal(size=1000)), place, Axis(0.0, 2.0, 2), replicates=2, zero=0.5)
        low, high = (end[1] for end in profile.interval(0.95))
        below, above = below + (truth < low), above + (truth > high)
    assert below < 0.05 * 400
    assert above < 0.06 * 400
    assert below + above < 0.08 * 400
