"""A number with its error: the return type of every average and free energy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

import numpy as np

from boltzflow.errors import OptionError
from boltzflow.verdict import Verdict, worst


class Law(Protocol):
    """What is known about an estimate's error beyond its standard deviation."""

    @property
    def verdict(self) -> Verdict:
        """Whether the estimate can be trusted; the worst of several."""

    @property
    def own_verdict(self) -> Verdict:
        """The verdict on the samples' contributions to this estimate alone, without that on their weights."""

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        """The ends of a confidence interval."""


class _Pair(NamedTuple):
    value: Any
    error: Any


class Estimate(_Pair):
    """A value and its standard error; a pair, so that `value, error = estimate` works.

    `str` rounds the value to the digits of its error.

    Args:
        value, error: numbers, or arrays of one shape.
        law: describes the error, if the samples behind it are known.

    >>> estimate = Estimate(2.0, 0.5)
    >>> [round(end, 2) for end in estimate.interval(0.95)]
    [1.02, 2.98]
    >>> print(Estimate(-178.68491, 0.00052), Estimate(np.array([1.0, 25.0]), np.array([0.1, 3.0])))
    -178.6849 ± 0.0005 [1.0 ± 0.1, 25 ± 3]
    """

    law: Law | None = None

    def __new__(cls, value: Any, error: Any, law: Law | None = None) -> Estimate:
        """A pair with its law."""
        pair = super().__new__(cls, value, error)
        pair.law = law
        return pair

    def __str__(self) -> str:
        return _rounded(self.value, self.error)

    @property
    def verdict(self) -> Verdict | None:
        """Whether value and interval can be trusted, as far as the samples can tell; None if they are not known.

        It uses the tail of w·|f − ⟨f⟩|, not that of the weights alone: an ensemble may support one average and not
        another. For an array the worst element counts.
        """
        return None if self.law is None else self.law.verdict

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """The ends of a confidence interval, which contains the true value in a fraction `level` of repetitions.

        The interval may be asymmetric: if few samples have large weights, the end on their side is farther away. If the
        samples are not known, it is that of a normal distribution.

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
        """`factor` times the estimate. The factor is a number, or one number for each element."""
        law = None if self.law is None else _Scaled(self.law, factor, self.value)
        return Estimate(factor * self.value, abs(factor) * self.error, law)

    @staticmethod
    def stacked(estimates: Sequence[Estimate]) -> Estimate:
        """One estimate of arrays (K,) from K estimates of numbers."""
        values, errors = zip(*estimates, strict=True)
        laws = [estimate.law for estimate in estimates if estimate.law is not None]
        return Estimate(np.array(values), np.array(errors), _Stacked(laws) if len(laws) == len(values) else None)


def _rounded(value: Any, error: Any) -> str:
    """The value to the digits of its error, which has one; an array is written as a list."""
    if np.ndim(value):
        return f"[{', '.join(_rounded(v, e) for v, e in zip(value, error, strict=True))}]"
    if not (np.isfinite(value) and np.isfinite(error) and error > 0.0):
        return f"{value:g} ± {error:g}"
    power = int(f"{error:.0e}".split("e")[1])
    if power < -12:
        return f"{value:g} ± {error:.0e}"
    return " ± ".join(f"{round(number, -power):z.{max(0, -power)}f}" for number in (float(value), float(error)))


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
