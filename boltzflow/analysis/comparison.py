"""How far two distributions over the same bins are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boltzflow.errors import ShapeError


def total_variation(p: ArrayLike, q: ArrayLike) -> float:
    """Half the sum of |p − q| over bins, each histogram taken as shares of its sum: 0 to 1.

    Two finite samples of one distribution differ too: of n independent samples each, by about √(bins/(2πn))·√2 where
    bins are evenly filled. State that floor beside it.

    Raises:
        ShapeError: if the histograms have not the same bins.

    >>> total_variation([1, 1], [3, 1])
    0.25
    """
    first, second = _shares(p, q)
    return float(0.5 * np.abs(first - second).sum())


def kl_divergence(p: ArrayLike, q: ArrayLike) -> tuple[float, float]:
    """KL(p ‖ q) over bins, in nats, and the share of p in bins where q is empty, which are left out.

    Raises:
        ShapeError: if the histograms have not the same bins.

    >>> kl_divergence([1, 1, 0], [1, 1, 2])
    (0.6931471805599453, 0.0)
    """
    first, second = _shares(p, q)
    both = (first > 0) & (second > 0)
    value = float((first[both] * np.log(first[both] / second[both])).sum())
    return value, float(first[(first > 0) & (second == 0)].sum())


def _shares(p: ArrayLike, q: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(h, np.float64) for h in (p, q))
    if first.shape != second.shape:
        raise ShapeError(f"Expected histograms of the same bins; got {first.shape} and {second.shape}.")
    return first / first.sum(), second / second.sum()
