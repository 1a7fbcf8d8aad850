"""Which torsions depend on one another: their mutual information, above what noise alone would show."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import ShapeError

_BINS = 24  # of each circle
_FRAMES = 50_000  # at most: more would not change what is strongest
_COPIES = 20  # of the samples with the second torsion drawn independently
_CLEAR = 5.0  # standard deviations of these copies
_CANDIDATES = 4  # times the number of pairs asked for


@dataclass(frozen=True)
class Coupling:
    """The dependence of two torsions.

    Attributes:
        pair: their columns.
        information: mutual information of their histograms with 24 bins each, minus `floor`, nats. It is zero if they
            are independent; a population of either then tells nothing about the other.
        floor: what independent torsions would show in as many samples of these weights.
        noise: the standard deviation of that.
    """

    pair: tuple[int, int]
    information: float
    floor: float
    noise: float


def couplings(
    ensemble: Ensemble, angles: Array, most: int = 6, without: Collection[tuple[int, int]] = (), seed: int = 0
) -> list[Coupling]:
    """The pairs of torsions with the largest mutual information, if it is clear of the noise; the largest first.

    The floor comes from twenty copies in which the second torsion is drawn anew, by weight, independently of the first.
    Independent torsions fill more cells than others, so that it takes up to its own size too much away. Correlations
    between frames are not taken into account: those of a simulation raise mutual information.

    Args:
        ensemble: n frames and their weights; of more than 50 000 every k-th is used.
        angles: (n, torsions) rad.
        most: number of pairs.
        without: pairs of columns to leave out.
        seed: of the copies.

    Raises:
        ShapeError: if there is not one row of angles for each frame.
        NonFiniteError: if no weight is positive.

    >>> x = np.random.default_rng(0).uniform(-np.pi, np.pi, size=(4000, 3))
    >>> x[:, 2] = x[:, 0]
    >>> [found.pair for found in couplings(Ensemble(np.zeros((4000, 1, 3)), None, 300.0), x)]
    [(0, 2)]
    """
    if angles.ndim != 2 or len(angles) != len(ensemble):
        raise ShapeError(f"Expected angles ({len(ensemble)}, torsions), one row for each frame; got {angles.shape}.")
    stride = -(-len(ensemble) // _FRAMES)
    weights = ensemble.weights[::stride]
    if weights.sum() == 0.0:
        return []
    weights = weights / weights.sum()
    bins = np.floor((angles[::stride] + math.pi) * (_BINS / (2 * math.pi))).astype(np.int64) % _BINS
    pairs = [pair for pair in combinations(range(angles.shape[1]), 2) if pair not in set(without)]
    raw = {(i, j): _information(bins[:, i], bins[:, j], weights) for i, j in pairs}
    likely = sorted(pairs, key=lambda pair: -raw[pair])[: _CANDIDATES * most]
    random = np.random.default_rng(seed)
    others = [_drawn(weights, random) for _ in range(_COPIES)]
    found = []
    for i, j in likely:
        copies = [_information(bins[:, i], bins[other, j], weights) for other in others]
        floor, noise = float(np.mean(copies)), float(np.std(copies, ddof=1))
        if raw[i, j] - floor > _CLEAR * noise:
            found.append(Coupling((i, j), raw[i, j] - floor, floor, noise))
    return sorted(found, key=lambda coupling: -coupling.information)[:most]


def _drawn(weights: Array, random: np.random.Generator) -> NDArray[np.int64]:
    """As many frames as there are, in proportion to their weights."""
    return random.choice(len(weights), len(weights), p=weights)


def _information(x: NDArray[np.int64], y: NDArray[np.int64], weights: Array) -> float:
    """Mutual information of a weighted histogram, nats."""
    joint = np.bincount(x * _BINS + y, weights, _BINS**2).reshape(_BINS, _BINS)
    product = joint.sum(1)[:, None] * joint.sum(0)
    seen = joint > 0.0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())
