"""Annealing schedules: the levels from λ = 0 to λ = 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from boltzflow.errors import NonFiniteError, OptionError


def linear_schedule(levels: int) -> tuple[float, ...]:
    """`levels` equal steps from 0 to 1.

    Raises:
        OptionError: if there is no level.

    >>> linear_schedule(4)
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    _check_levels(levels)
    return tuple(k / levels for k in range(levels + 1))


def geometric_schedule(levels: int, first: float = 0.01) -> tuple[float, ...]:
    """From 0 to `first`, then `levels` − 1 geometric steps: for an initial density much wider than the final one.

    Raises:
        OptionError: if there are fewer than two levels, or `first` is not in (0, 1).

    >>> [round(fraction, 3) for fraction in geometric_schedule(3, first=0.01)]
    [0.0, 0.01, 0.1, 1.0]
    """
    if levels < 2 or not 0.0 < first < 1.0:
        raise OptionError(
            f"geometric_schedule: expected at least 2 levels and first in (0, 1); got {levels}, {first:g}."
        )
    return (0.0, *(first ** (1.0 - k / (levels - 1)) for k in range(levels - 1)), 1.0)


@dataclass(frozen=True)
class AdaptiveSchedule:
    """Adaptive steps: each keeps the conditional effective sample size at a given fraction.

    Zhou et al. 2016, arXiv 1303.3123. Levels that depend on the samples bias log Z by O(1/n). For exact weights, run
    a second time with the `fractions` of the first run as the schedule.

    Args:
        ess: conditional effective sample size after a step, as a fraction of n, in (0, 1).
        max_levels: the maximum number of levels.

    Raises:
        OptionError: if an argument is out of range.
    """

    ess: float = 0.9
    max_levels: int = 1000

    def __post_init__(self) -> None:
        if not 0.0 < self.ess < 1.0:
            raise OptionError(f"AdaptiveSchedule: expected ess in (0, 1); got {self.ess:g}.")
        _check_levels(self.max_levels)

    def next_fraction(self, fractions: Sequence[float], log_weights: Tensor, slope: Tensor) -> float:
        """The λ after the last of `fractions`, for samples with log-weights (n,) and slopes ∂ log π_λ/∂λ (n,).

        Raises:
            NonFiniteError: if no sample has a positive weight, or the levels are used up.
        """
        fraction = fractions[-1]
        if not bool((slope.isfinite() & log_weights.isfinite()).any()):
            raise NonFiniteError(f"AdaptiveSchedule: expected positive weights beyond λ = {fraction:g}; got none.")
        if len(fractions) > self.max_levels:
            raise NonFiniteError(
                f"AdaptiveSchedule: expected λ = 1 within {self.max_levels} levels; got λ = {fraction:g}."
            )
        if self._conditional_ess(1.0 - fraction, log_weights, slope) >= self.ess:
            return 1.0
        low, high = 0.0, 1.0 - fraction
        for _ in range(50):
            middle = 0.5 * (low + high)
            if self._conditional_ess(middle, log_weights, slope) >= self.ess:
                low = middle
            else:
                high = middle
        return fraction + high  # never a step of length zero

    @staticmethod
    def _conditional_ess(step: float, log_weights: Tensor, slope: Tensor) -> float:
        """(Σ W u)² / Σ W u² of the incremental weights u = exp(step · slope), among samples with positive weight."""
        alive = slope.isfinite() & log_weights.isfinite()
        log_weights, increment = log_weights[alive].log_softmax(0), step * slope[alive]
        log_share = 2.0 * (log_weights + increment).logsumexp(0) - (log_weights + 2.0 * increment).logsumexp(0)
        return math.exp(min(0.0, log_share.item()))


Schedule = Sequence[float] | Tensor | AdaptiveSchedule
"""Levels λ from 0 to 1, in ascending order, or a rule that determines them."""


def checked_levels(schedule: Sequence[float] | Tensor) -> tuple[float, ...]:
    """Return the levels after checking that they ascend from 0 to 1.

    Raises:
        OptionError: if they do not ascend from 0 to 1.
    """
    levels = tuple(torch.as_tensor(schedule, dtype=torch.float64).tolist())
    if len(levels) < 2 or levels[0] != 0.0 or levels[-1] != 1.0 or any(b <= a for a, b in pairwise(levels)):
        raise OptionError(f"Expected a schedule that ascends from 0 to 1; got {[round(v, 4) for v in levels]}.")
    return levels


def _check_levels(levels: int) -> None:
    if levels < 1:
        raise OptionError(f"Expected at least one level; got {levels}.")
