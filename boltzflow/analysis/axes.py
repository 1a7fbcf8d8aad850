"""Axes of collective variables: an interval or a circle, with bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Axis:
    """An interval, or a whole circle, divided into bins of equal width.

    Attributes:
        low, high: the ends, in `unit`; on a circle they are the same point.
        bins: number of bins.
        periodic: whether the axis is a circle; values are then wrapped.
        unit: such as "nm"; a label, never converted.

    Raises:
        OptionError: if the ends are not finite and increasing, or there is no bin.

    >>> Axis(0.2, 0.6, bins=2, unit="nm").centers
    array([0.3, 0.5])
    """

    low: float
    high: float
    bins: int
    periodic: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf or self.bins < 1:
            raise OptionError(
                f"Expected an axis from a lower to a higher value with at least one bin; got {self.low:g} to "
                f"{self.high:g} with {self.bins} bins."
            )

    @classmethod
    def torsion(cls, bins: int = 72) -> Axis:
        """The circle from −π to π, in rad."""
        return cls(-math.pi, math.pi, bins, periodic=True, unit="rad")

    @property
    def width(self) -> float:
        """The width of a bin."""
        return (self.high - self.low) / self.bins

    @property
    def edges(self) -> Array:
        """The edges of the bins, (bins + 1,)."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def centers(self) -> Array:
        """The centres of the bins, (bins,)."""
        return self.low + (np.arange(self.bins, dtype=np.float64) + 0.5) * self.width

    def index(self, values: Array) -> NDArray[np.int64]:
        """The bin of each value (n,); −1 outside the axis, and if the value is not finite.

        >>> Axis(0.0, 1.0, bins=4).index(np.array([0.1, 0.3, 1.0, 1.1, np.nan]))
        array([ 0,  1,  3, -1, -1])
        """
        finite = np.isfinite(values)
        place = np.floor((np.where(finite, values, self.low) - self.low) / self.width).astype(np.int64)
        if self.periodic:
            return np.where(finite, np.mod(place, self.bins), -1)
        inside = finite & (values >= self.low) & (values <= self.high)
        return np.where(inside, np.clip(place, 0, self.bins - 1), -1)


def collective_variable(ensemble: Ensemble, values: Observable) -> Array:
    """One number for each frame (n,), as float64.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
    """
    found = ensemble.values(values).astype(np.float64)
    if found.ndim != 1:
        raise ShapeError(f"Expected one value for each of {len(ensemble)} frames; got an array of shape {found.shape}.")
    return found
