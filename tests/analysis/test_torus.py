"""Smooth densities over two angles: exact where they can be worked out, and better than the histogram."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import i0

from boltzflow.analysis import torus_density
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError


def ensemble(log_weights: np.ndarray) -> Ensemble:
    n = len(log_weights)
    return Ensemble(np.zeros((n, 1, 3)), np.zeros(n), 300.0, log_weights)


def exact(centers: np.ndarray, kappas: tuple[float, float], places: tuple[float, float]) -> np.ndarray:
    one, other = (np.exp(k * np.cos(centers - at)) / (2 * np.pi * i0(k)) for k, at in zip(kappas, places, strict=True))
    return one[:, None] * other


@pytest.mark.parametrize("n", [2000, 50_000])
@pytest.mark.parametrize("kappas", [(1.0, 1.0), (30.0, 4.0)], ids=str)
def test_the_density_is_close_to_the_exact_one(n: int, kappas: tuple[float, float]) -> None:
    """Its square error is near that of the best kernel of all; tilted weights give the tilted density."""
    random = np.random.default_rng(0)
    places = (2.8, -1.0)  # across the seam
    angles = [random.vonmises(at, kappa, n) for at, kappa in zip(places, kappas, strict=True)]
    tilt = 0.3 * np.cos(angles[0])
    for log_weights, shift in ((np.zeros(n), 0.0), (tilt, 0.3)):
        found = torus_density(ensemble(log_weights), *angles)
        right = exact(found.axis.centers, kappas, places) * np.exp(shift * np.cos(found.axis.centers))[:, None]
        right /= right.sum() * found.axis.width**2
        errors = [
            np.square(torus_density(ensemble(log_weights), *angles, bandwidth=width).values - right).sum()
            for width in np.geomspace(1e-3, 2.0, 40)
        ]
        assert np.square(found.values - right).sum() < 1.3 * min(errors)
        assert min(errors) < errors[0]
        assert found.values.sum() * found.axis.width**2 == pytest.approx(1.0, abs=1e-6)


def test_more_samples_have_a_narrower_kernel() -> None:
    angles = np.random.default_rng(1).vonmises(0.5, 2.0, (2, 100_000))
    widths = [torus_density(ensemble(np.zeros(n)), *angles[:, :n]).bandwidth for n in (300, 3000, 100_000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.5 * widths[-1]


def test_the_zero_of_free_energies_is_the_maximum_and_the_width_is_as_asked() -> None:
    angles = np.random.default_rng(2).vonmises(0.5, 2.0, (2, 1000))
    found = torus_density(ensemble(np.zeros(1000)), *angles, bandwidth=0.4)
    assert found.bandwidth == 0.4
    assert found.free_energies.min() == 0.0
    with pytest.raises(OptionError, match="Expected a positive bandwidth; got -1"):
        torus_density(ensemble(np.zeros(1000)), *angles, bandwidth=-1.0)


def test_a_single_point_is_the_kernel() -> None:
    """The product of wrapped normal densities, to the bin's centre."""
    found = torus_density(ensemble(np.zeros(10)), np.full(10, 3.1), np.full(10, -0.02), bandwidth=0.3)
    axis = found.axis
    place = axis.centers[axis.index(np.array([3.1, -0.02]))]
    one, other = (
        sum(np.exp(-0.5 * ((axis.centers - at + 2 * np.pi * k) / 0.3) ** 2) for k in (-1, 0, 1)) for at in place
    )
    right = one[:, None] * other / (2 * np.pi * 0.3**2)
    np.testing.assert_allclose(found.values, right, atol=1e-6)


def test_the_kernel_rests_on_so_many_samples() -> None:
    """n uniform samples: each kernel has n times its area 4πh² over (2π)²."""
    angles = np.random.default_rng(3).uniform(-np.pi, np.pi, (2, 20_000))
    found = torus_density(ensemble(np.zeros(20_000)), *angles, bandwidth=0.5)
    np.testing.assert_allclose(found.effective_samples, 20_000 * 0.25 / np.pi, rtol=0.15)
