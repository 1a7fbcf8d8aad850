"""Schedules of temperature and learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boltzflow.errors import OptionError
from boltzflow.units import checked_temperature


@dataclass(frozen=True)
class Annealing:
    """Temperature in K: constant and high, then falling geometrically to the target, then constant.

    The high initial temperature prevents reverse KL from collapsing into the first basin that it finds.

    Args:
        hot: initial temperature in K.
        target: final temperature in K.
        hot_share: fraction of the steps at the initial temperature.
        cooling_share: fraction of the steps during which the temperature falls.

    Raises:
        OptionError: if a temperature is not positive, or the fractions are negative or their sum exceeds 1.

    >>> schedule = Annealing(hot=1200.0, target=300.0)
    >>> schedule(0.0), round(schedule(0.5)), round(schedule(1.0))
    (1200.0, 600, 300)
    """

    hot: float
    target: float
    hot_share: float = 0.3
    cooling_share: float = 0.4

    def __post_init__(self) -> None:
        checked_temperature(self.hot)
        checked_temperature(self.target)
        if min(self.hot_share, self.cooling_share) < 0.0 or self.hot_share + self.cooling_share > 1.0:
            raise OptionError(
                "Expected non-negative fractions of hot and cooling steps with a sum of at most 1; "
                f"got {self.hot_share:g} and {self.cooling_share:g}."
            )

    def __call__(self, progress: float) -> float:
        cooled = (progress - self.hot_share) / self.cooling_share if self.cooling_share > 0.0 else math.inf
        if progress < self.hot_share:
            cooled = 0.0
        return float(self.hot * (self.target / self.hot) ** min(max(cooled, 0.0), 1.0))


@dataclass(frozen=True)
class WarmupCosine:
    """Learning rate: a linear rise over `warmup` steps, then a cosine decay to a fraction `final` of its peak.

    >>> schedule = WarmupCosine(peak=1e-3, warmup=10)
    >>> schedule(0, 100), schedule(9, 100), round(schedule(99, 100), 6)
    (0.0001, 0.001, 0.0)
    """

    peak: float
    warmup: int = 200
    final: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, steps - self.warmup)
        return self.peak * (self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress)))
