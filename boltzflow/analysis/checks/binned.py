"""Histograms of weighted frames with their noise, by a bootstrap over independent blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.checks.references import MOST_BLOCKS, Reference, Surface
from boltzflow.arrays import Array
from boltzflow.core import importance

_TYPICAL = 4000


@dataclass(frozen=True, eq=False)
class Shares:
    """The fractions in bins (bins,), and their deviations in each bootstrap replicate (replicates, bins)."""

    values: Array
    noise: Array

    @cached_property
    def errors(self) -> Array:
        """Standard errors (bins,)."""
        errors: Array = np.sqrt(np.square(self.noise).mean(0))
        return errors

    def rescaled(self, known: Surface) -> Shares:
        """Fractions that are known better, with noise scaled to their errors and correlated as here."""
        scale = np.divide(known.errors.ravel(), self.errors, out=np.zeros_like(self.errors), where=self.errors > 0)
        return Shares(known.shares.ravel() / known.shares.sum(), self.noise * scale)

    def with_unseen(self, expected: Array, random: np.random.Generator) -> Shares:
        """The same with noise also in empty bins: Poisson counts for the effective number of frames of the other bins.

        expected: fractions (bins,) that the empty bins may have.
        """
        silent, variance = self.errors == 0, np.square(self.errors).sum()
        if variance == 0:
            return self
        effective = (self.values * (1 - self.values)).sum() / variance
        counts = random.poisson(np.where(silent, expected, 0.0) * effective, self.noise.shape)
        return Shares(self.values, np.where(silent, counts / effective - expected, self.noise))


class Bootstrap:
    """Bootstrap over the blocks of a sample; all of its histograms share the resampled blocks.

    Args:
        source: weighted frames in independent blocks. More than 64 blocks are merged, which keeps them independent.
        replicates: number of bootstrap replicates.
        random: source of random numbers.
    """

    def __init__(self, source: Reference, replicates: int, random: np.random.Generator) -> None:
        k, log_weights = min(source.n_pieces, MOST_BLOCKS), torch.from_numpy(source.log_weights)
        self._weights = source.weights
        self._blocks, self._n_blocks = source.pieces * k // source.n_pieces, k
        self._counts = random.multinomial(k, np.full(k, 1 / k), replicates)
        few = torch.Generator().manual_seed(0)
        self.typical = importance.resample(log_weights, min(_TYPICAL, len(self._weights)), few).numpy()
        """Frames resampled by weight; they show the range of an observable."""

    def shares(self, index: NDArray[np.int64], bins: int) -> Shares:
        """The histogram of frames whose bins are index (n,), in 0 … bins − 1."""
        k = self._n_blocks
        sums = np.bincount(self._blocks * bins + index, self._weights, k * bins).reshape(k, bins)
        drawn = self._counts @ sums
        # Blocks scatter about their own mean slightly less than about the true one.
        scale = np.sqrt(k / max(1, k - 1))
        values = sums.sum(0)
        return Shares(values, scale * (drawn / drawn.sum(1, keepdims=True) - values))
