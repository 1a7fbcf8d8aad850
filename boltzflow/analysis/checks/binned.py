"""Histograms of weighted frames with their noise, drawn by independent pieces of what was sampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.checks.references import MOST_PIECES, Reference, Surface
from boltzflow.arrays import Array
from boltzflow.core import importance

_TYPICAL = 4000


@dataclass(frozen=True, eq=False)
class Shares:
    """The shares of bins (bins,), and by how much they are off in each draw of the noise (replicates, bins)."""

    values: Array
    noise: Array

    @cached_property
    def errors(self) -> Array:
        """Standard errors (bins,)."""
        errors: Array = np.sqrt(np.square(self.noise).mean(0))
        return errors

    def rescaled(self, known: Surface) -> Shares:
        """Shares that are known better, with noise of their errors that hangs together as this one does."""
        scale = np.divide(known.errors.ravel(), self.errors, out=np.zeros_like(self.errors), where=self.errors > 0)
        return Shares(known.shares.ravel() / known.shares.sum(), self.noise * scale)

    def with_unseen(self, expected: Array, random: np.random.Generator) -> Shares:
        """With noise also in bins that were not met: counts of as many effective frames as the other bins' noise tells.

        expected: shares (bins,) that these bins may have.
        """
        silent, variance = self.errors == 0, np.square(self.errors).sum()
        if variance == 0:
            return self
        effective = (self.values * (1 - self.values)).sum() / variance
        counts = random.poisson(np.where(silent, expected, 0.0) * effective, self.noise.shape)
        return Shares(self.values, np.where(silent, counts / effective - expected, self.noise))


class Bootstrap:
    """Draws the pieces of a sample anew, the same ones for all its histograms.

    Args:
        source: frames with weights, in independent pieces; more than 64 are merged, which leaves them independent.
        replicates: number of draws.
        random: their random numbers.
    """

    def __init__(self, source: Reference, replicates: int, random: np.random.Generator) -> None:
        k, log_weights = min(source.n_pieces, MOST_PIECES), torch.from_numpy(source.log_weights)
        self._weights = importance.normalized_weights(log_weights).numpy()
        self._pieces, self._n_pieces = source.pieces * k // source.n_pieces, k
        self._counts = random.multinomial(k, np.full(k, 1 / k), replicates)
        few = torch.Generator().manual_seed(0)
        self.typical = importance.resample(log_weights, min(_TYPICAL, len(self._weights)), few).numpy()
        """Frames drawn by weight, that show where an observable lies."""

    def shares(self, index: NDArray[np.int64], bins: int) -> Shares:
        """Of the bins that frames fall into, index (n,) in 0 … bins − 1."""
        k = self._n_pieces
        sums = np.bincount(self._pieces * bins + index, self._weights, k * bins).reshape(k, bins)
        drawn = self._counts @ sums
        # Pieces scatter about their own mean by a little less than about the true one.
        scale = np.sqrt(k / max(1, k - 1))
        values = sums.sum(0)
        return Shares(values, scale * (drawn / drawn.sum(1, keepdims=True) - values))
