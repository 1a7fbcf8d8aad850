"""Distances of histograms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from boltzflow.analysis import jensen_shannon, kl_divergence, total_variation, wasserstein
from boltzflow.errors import NonFiniteError, ShapeError


def test_against_scipy_and_the_definition() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.random((2, 6, 6))
    assert kl_divergence(p, q)[0] == pytest.approx(entropy(p.ravel(), q.ravel()))
    event = (p / p.sum()) > (q / q.sum())  # the event whose probabilities differ most
    assert total_variation(p, 3 * q) == pytest.approx((p / p.sum())[event].sum() - (q / q.sum())[event].sum())


def test_what_the_second_lacks_is_said() -> None:
    value, missing = kl_divergence([1, 1, 6], [1, 3, 0])
    assert value == pytest.approx(entropy([1, 1], [1, 3]))
    assert missing == 0.75
    assert kl_divergence([9, 1], [1, 0])[0] == 0.0  # not below
    assert kl_divergence([0, 1], [1, 0]) == (np.inf, 1.0)


def test_other_bins_are_refused() -> None:
    with pytest.raises(ShapeError, match="same bins"):
        total_variation([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="same bins"):
        wasserstein([1, 2], [1, 2, 3], 1.0)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0], []])
def test_what_is_no_histogram_is_refused(bad: list[float]) -> None:
    for distance in (total_variation, kl_divergence, jensen_shannon, lambda p, q: wasserstein(p, q, 0.1)):
        with pytest.raises(NonFiniteError, match="Expected histograms of finite, non-negative numbers"):
            distance(bad, np.ones(len(bad)))


@pytest.mark.parametrize("seed", range(5))
def test_distances_against_scipy(seed: int) -> None:
    p, q = np.random.default_rng(seed).random((2, 12)) ** 3
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2)
    centers = 0.2 * np.arange(12)
    assert wasserstein(p, q, 0.2) == pytest.approx(wasserstein_distance(centers, centers, p, q))


@pytest.mark.parametrize("seed", range(5))
def test_the_circular_distance_is_the_cheapest_plan_of_transport(seed: int) -> None:
    n = 9
    p, q = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), 2)
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    cost = 0.3 * np.minimum(apart, n - apart)
    rows, columns = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    plan = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([p, q]))
    found = wasserstein(p, q, 0.3, circular=True)
    assert found == pytest.approx(plan.fun)
    assert wasserstein(np.roll(p, 4), np.roll(q, 4), 0.3, circular=True) == pytest.approx(found)
