"""Distances between two distributions over the same bins."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from boltzflow.arrays import Array
from boltzflow.errors import NonFiniteError, ShapeError


def total_variation(p: ArrayLike, q: ArrayLike) -> float:
    """Half the sum of |p − q| over bins, from 0 to 1; both histograms are normalised first.

    Two finite samples of one distribution differ too: with n independent samples each, by about √(bins/(2πn))·√2 if the
    bins are evenly filled. Report this noise floor together with the distance.

    Raises:
        ShapeError: if the histograms do not have the same bins.
        NonFiniteError: if one is empty, or has an entry that is negative or not finite.

    >>> total_variation([1, 1], [3, 1])
    0.25
    """
    first, second = _shares(p, q)
    return float(0.5 * np.abs(first - second).sum())


def kl_divergence(p: ArrayLike, q: ArrayLike) -> tuple[float, float]:
    """KL(p ‖ q) over bins in nats, and the fraction of p in bins where q is empty.

    With bins where q is empty the divergence would be infinite. They are left out, and the rest of p is normalised: the
    result is never negative, but does not account for these bins. Report their fraction together with it. If p and q
    share no bin, the result is infinite.

    Raises:
        ShapeError: if the histograms do not have the same bins.
        NonFiniteError: if one is empty, or has an entry that is negative or not finite.

    >>> kl_divergence([1, 1, 0], [1, 1, 2])
    (0.6931471805599453, 0.0)
    >>> kl_divergence([9, 1], [1, 0])
    (0.0, 0.1)
    """
    first, second = _shares(p, q)
    both = (first > 0) & (second > 0)
    missing = float(first[second == 0].sum())
    if not both.any():
        return math.inf, missing
    first, second = first[both] / first[both].sum(), second[both]
    return float((first * np.log(first / second)).sum()), missing


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """The mean KL divergence of p and q from their mean, in nats: 0 to log 2, finite also where one of them is empty.

    Raises:
        ShapeError: if the histograms do not have the same bins.
        NonFiniteError: if one is empty, or has an entry that is negative or not finite.

    >>> jensen_shannon([1, 0], [0, 1])
    0.6931471805599453
    """
    first, second = _shares(p, q)
    mean = (first + second) / 2
    return (kl_divergence(first, mean)[0] + kl_divergence(second, mean)[0]) / 2


def wasserstein(p: ArrayLike, q: ArrayLike, width: float, *, circular: bool = False) -> float:
    """The Wasserstein-1 distance between p and q: the least mean distance that moves p to q.

    The bins have one width and lie on a line or around a circle. On the circle mass may cross the seam, which shifts
    the difference of the distribution functions by a constant; the median of the difference is the constant of least
    cost (Rabin, Delon & Gousseau 2011, arXiv 0906.5499).

    Args:
        p, q: (bins,) histograms, which are normalised first.
        width: of a bin, in the unit of the result.
        circular: whether the last bin is adjacent to the first.

    Raises:
        ShapeError: if the histograms do not have the same bins.
        NonFiniteError: if one is empty, or has an entry that is negative or not finite.

    >>> wasserstein([1, 0, 0, 0], [0, 0, 0, 1], 0.5), wasserstein([1, 0, 0, 0], [0, 0, 0, 1], 0.5, circular=True)
    (1.5, 0.5)
    """
    first, second = _shares(p, q)
    excess = np.cumsum(first - second)
    return float(width * np.abs(excess - (np.median(excess) if circular else 0.0)).sum())


def _shares(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    first, second = (np.asarray(h, np.float64) for h in (p, q))
    if first.shape != second.shape:
        raise ShapeError(f"Expected histograms of the same bins; got {first.shape} and {second.shape}.")
    for shares in (first, second):
        if not (0.0 < shares.sum() < math.inf and shares.min() >= 0.0):
            raise NonFiniteError(
                "Expected histograms of finite, non-negative numbers with a positive sum; got the sum "
                f"{shares.sum():g} and the minimum {shares.min(initial=math.inf):g}."
            )
    return first / first.sum(), second / second.sum()
