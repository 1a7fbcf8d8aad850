"""Distances of histograms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from boltzflow.analysis import kl_divergence, total_variation
from boltzflow.errors import ShapeError


def test_against_scipy_and_the_definition() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.random((2, 6, 6))
    assert kl_divergence(p, q)[0] == pytest.approx(entropy(p.ravel(), q.ravel()))
    event = (p / p.sum()) > (q / q.sum())  # the event whose probabilities differ most
    assert total_variation(p, 3 * q) == pytest.approx((p / p.sum())[event].sum() - (q / q.sum())[event].sum())


def test_what_the_second_lacks_is_said() -> None:
    assert kl_divergence([1, 3], [1, 0]) == (pytest.approx(0.25 * np.log(0.25)), 0.75)


def test_other_bins_are_refused() -> None:
    with pytest.raises(ShapeError, match="same bins"):
        total_variation([1, 2], [1, 2, 3])
