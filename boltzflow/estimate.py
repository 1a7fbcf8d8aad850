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

    @property
    def own_verdict(self) -> Verdict:
        """The same by what samples contribute to it alone, whatever their weights are worth otherwise."""

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        """The ends of a confidence interval."""


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

    def scaled(self, factor: Any) -> Estimate:
        """`factor` times the estimate: a number, or one for each of several."""
        law = None if self.law is None else _Scaled(self.law, factor, self.value)
        return Estimate(factor * self.value, abs(factor) * self.error, law)

    @staticmethod
    def stacked(estimates: Sequence[Estimate]) -> Estimate:
        """One estimate of arrays (K,) from K of numbers."""
        values, errors = zip(*estimates, strict=True)
        laws = [estimate.law for estimate in estimates if estimate.law is not None]
        return Estimate(np.array(values), np.array(errors), _Stacked(laws) if len(laws) == len(values) else None)


class _Scaled:
    """The law of an estimate times a factor."""

    def __init__(self, law: Law, factor: Any, value: Any) -> None:
        self.law, self.factor, self.value = law, factor, value

    @property
    def verdict(self) -> Verdict:
        return self.law.verdict

    @property
    def own_verdict(self) -> Verdict:
        return self.law.own_verdict

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        first, last = (self.factor * end for end in self.law.ends(self.value, level))
        low, high = np.minimum(first, last), np.maximum(first, last)
        return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)


class _Stacked:
    """The laws of several estimates, one after the other."""

    def __init__(self, laws: Sequence[Law]) -> None:
        self.laws = laws

    @property
    def verdict(self) -> Verdict:
        return worst(law.verdict for law in self.laws)

    @property
    def own_verdict(self) -> Verdict:
        return worst(law.own_verdict for law in self.laws)

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        low, high = zip(*(law.ends(v, level) for law, v in zip(self.laws, value, strict=True)), strict=True)
        return np.array(low), np.array(high)
