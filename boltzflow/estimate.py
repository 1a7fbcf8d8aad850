"""A number with its error: what every average and free energy is returned as."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

import numpy as np

from boltzflow.errors import OptionError
from boltzflow.verdict import Verdict, worst


class Law(Protocol):
    """What is known of an estimate's error beyond its standard deviation."""

    @property
    def verdict(self) -> Verdict:
        """Whether the estimate can be trusted; the worst of several."""

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        """The ends of a confidence interval."""

    def scaled(self, factor: float) -> Law:
        """The law of `factor` times the estimate."""


class _Pair(NamedTuple):
    value: Any
    error: Any


class Estimate(_Pair):
    """A value and its standard error; a pair, so that `value, error = estimate` works.

    Args:
        value, error: numbers, or arrays of one shape.
        law: of the error, where the samples behind it are known.

    >>> estimate = Estimate(2.0, 0.5)
    >>> [round(end, 2) for end in estimate.interval(0.95)]
    [1.02, 2.98]
    """

    law: Law | None = None

    def __new__(cls, value: Any, error: Any, law: Law | None = None) -> Estimate:
        """A pair with its law beside it."""
        pair = super().__new__(cls, value, error)
        pair.law = law
        return pair

    @property
    def verdict(self) -> Verdict | None:
        """Whether value and interval can be trusted, as far as the samples can tell; None where they are not known.

        It goes by the tail of w·|f − ⟨f⟩|, not by that of the weights alone: an ensemble may carry one average and
        not another. Of an array the worst counts.
        """
        return None if self.law is None else self.law.verdict

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """The ends of a confidence interval: in `level` of repetitions it holds the true value.

        It need not be symmetric: where few samples have large weights, the end on their side is further away. Without
        known samples it is the normal distribution's.

        Raises:
            OptionError: if the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise OptionError(f"Expected a level between 0 and 1; got {level:g}.")
        if self.law is not None:
            return self.law.ends(self.value, level)
        half = NormalDist().inv_cdf(0.5 + 0.5 * level) * self.error
        return self.value - half, self.value + half

    def scaled(self, factor: float) -> Estimate:
        """`factor` times the estimate."""
        law = None if self.law is None else self.law.scaled(factor)
        return Estimate(factor * self.value, abs(factor) * self.error, law)

    @staticmethod
    def stacked(estimates: Sequence[Estimate]) -> Estimate:
        """One estimate of arrays (K,) from K of numbers."""
        values, errors = zip(*estimates, strict=True)
        known = all(estimate.law is not None for estimate in estimates)
        return Estimate(np.array(values), np.array(errors), _Stacked(estimates) if known else None)


class _Stacked:
    """The laws of several estimates, one after the other."""

    def __init__(self, estimates: Sequence[Estimate]) -> None:
        self.estimates = estimates

    @property
    def verdict(self) -> Verdict:
        return worst(e.verdict for e in self.estimates if e.verdict is not None)

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        low, high = zip(*(e.interval(level) for e in self.estimates), strict=True)
        return np.array(low), np.array(high)

    def scaled(self, factor: float) -> _Stacked:
        return _Stacked([e.scaled(factor) for e in self.estimates])
