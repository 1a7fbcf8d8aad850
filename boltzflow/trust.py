"""Whether weighted samples support an average: a verdict on the weights, and one on each average made with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.core.contributions import Contributions
from boltzflow.core.pareto import relevant_shape, tail_size
from boltzflow.verdict import Trust, Verdict, worst

_SMALLEST = 32  # samples of the smallest part whose effective sample size is computed
_FOLD = 8  # the effective sample sizes of n and n/8 samples are compared

# Beyond the first limit the verdict is "with care", beyond the second "do not use".
_PARETO_K = (0.5, 0.7)  # the weights' variance is infinite; so is what it takes to average them
_LARGEST = (0.05, 0.1)  # fraction of the weight in one sample
_EFFECTIVE = (200.0, 50.0)  # samples: the relative error of the errors is 1/√(2·200) = 5 %, and 10 %
_GROUPS = (80.0, 50.0)  # a hundred groups of somewhat unequal weight are enough: intervals account for their number
_FALL = (0.6, 0.25)  # ratio of the effective sample sizes of n and n/8; one in 20 good ensembles falls below the first

# When an average is trusted; `benchmarks/coverage.py` measures how well these limits work.
_NEARLY_EQUAL = 0.9  # effective sample size above which no region can be strongly undersampled
_MORE_EQUAL = 0.95  # above this the weights' variance is at most a twentieth of any error
_HARDLY_WEIGHTED = 0.99  # above this the tail of the weights does not matter
_JUDGED_FROM = 200  # samples of a tail that are needed to judge it
_ONE_SIDED = 1.645  # standard errors of k̂: the one-sided 95 % limit
_FINITE_VARIANCE, _SMALL_VARIANCE, _SAFE_VARIANCE = 0.5, 0.6, 0.35  # what k̂ must not exceed
_HEAVY = 0.55  # k̂ of an average's contributions where weights are nearly equal
_MANY, _PART = 100.0, 1 / 8  # contributions that determine an error, and as a fraction of all
_RARE = 20.0  # the same for a population
_FEW = 5.0
_ONE = 1.5  # below this a single sample accounts for more than three quarters of the error
_BISECTIONS = 14


class Observed(Enum):
    """What is known in advance about the tail of an average's contributions."""

    ANY = "any"  # nothing
    SHARE = "share"  # a population: its tail is that of the weights
    MOMENT = "moment"  # of the energy, whose distribution decays exponentially: asymptotically that of the weights


@dataclass(frozen=True, eq=False)
class SampleWeights:
    """Diagnostics of sample weights.

    Args:
        log_weights: (n,), −inf for weight zero.
        groups: (n,) labels of samples that are not independent of one another.
        resampled: whether the samples were resampled by other weights, which are then no longer visible.
    """

    log_weights: Array
    groups: NDArray[np.int64] | None = None
    resampled: bool = False

    @cached_property
    def ess(self) -> float:
        """Kish's effective sample size as a fraction of n."""
        return importance.effective_sample_size(self._logs)

    @cached_property
    def shape(self) -> float:
        """Pareto k̂ of the weights' tail; −inf if they hardly vary, NaN with fewer than 25 weights."""
        largest = importance.largest_weights(self._logs)
        return math.nan if largest is None else relevant_shape(largest)

    @property
    def upper_shape(self) -> float:
        """The upper confidence limit of k̂."""
        return _upper(self.shape, tail_size(int(np.isfinite(self.log_weights).sum())))

    @property
    def nearly_equal(self) -> bool:
        """Whether `ess` is at least 0.9, there are enough samples to judge the tail, and the tail is not heavy."""
        enough = tail_size(int(np.isfinite(self.log_weights).sum())) >= _JUDGED_FROM
        limit = _SMALL_VARIANCE if self.ess >= _MORE_EQUAL else _FINITE_VARIANCE
        return enough and self.ess >= _NEARLY_EQUAL and self.upper_shape <= limit

    @cached_property
    def verdict(self) -> Verdict:
        """Whether averages with these weights can be trusted, as far as weights alone can tell.

        It uses the number of effective samples, the shape k̂ of the tail (Vehtari et al. 2024, arXiv 1507.02646), the
        largest normalised weight, whether the effective sample size falls as n grows, and the number of independent
        groups. Weights cannot reveal regions that are never sampled.
        """
        return worst(self._verdicts())

    def _verdicts(self) -> Iterator[Verdict]:
        n, zero = len(self.log_weights), int(np.isneginf(self.log_weights).sum())
        if zero == n:
            yield Verdict(Trust.DO_NOT_USE, f"none of {n:,} samples has a positive weight")
            return
        largest = float(importance.normalized_weights(self._logs).max())
        k, effective = importance.pareto_shape(self._logs), self.ess * n
        summary = f"{effective:,.0f} effective samples of {n:,}"
        if self.groups is not None:
            independent = importance.effective_groups(self._logs, torch.from_numpy(self.groups))
            summary += f" in {independent:,.0f} independent groups"
        if self.resampled:
            reason = "the samples were resampled, which hides their weights: judge the weighted ensemble instead"
            yield Verdict(Trust.WITH_CARE, reason)
        if largest * n < 1.0 + 1e-9:
            yield Verdict(Trust.TRUST, f"{n:,} samples of equal weight, which cannot show how complete the sampling is")
        else:
            tail = f"Pareto k̂ {k:.2f}" if self.ess < _HARDLY_WEIGHTED else "whose weights hardly vary"
            yield Verdict(Trust.TRUST, f"{summary}, {tail}; weights cannot reveal regions that are never sampled")
        if self.ess < _HARDLY_WEIGHTED:
            care, no_use = _pareto_limits(n)
            limits = (care, math.inf if self.ess >= _NEARLY_EQUAL else no_use)
            yield from _above(k, limits, f"the weights have a heavy tail (Pareto k̂ {k:.2f})")
        yield from _above(largest, _LARGEST, f"one sample has {largest:.0%} of the weight")
        yield from _below(effective, _EFFECTIVE, f"there are only {summary}")
        part = n // _FOLD
        # 0: all weight lies in the samples that the parts leave out.
        if part >= _SMALLEST and (there := _ess_of_parts(self.log_weights, part)):
            seen = f"from {there:.2%} of {part:,} samples to {self.ess:.2%} of {n:,}"
            yield from _below(self.ess / there, _FALL, f"the effective sample size falls as n grows, {seen}")
        if self.groups is not None:
            yield from _below(independent, _GROUPS, f"the samples form only {independent:.0f} independent groups")

    @property
    def _logs(self) -> torch.Tensor:
        return torch.from_numpy(self.log_weights)


class AverageLaw:
    """The error of a weighted average, or of several (…), from the contribution of each sample.

    Args:
        contributions: of the samples to the deviation of the average.
        weights: the weights of the samples.
        observed: the kind of average.
        support: the smallest and the largest possible value.
        one_sample: for populations, the weight of one effective sample: the resolution where the region holds no
            sample, or all of them.
    """

    def __init__(
        self,
        contributions: Contributions,
        weights: SampleWeights,
        observed: Observed = Observed.ANY,
        support: tuple[float, float] = (-math.inf, math.inf),
        one_sample: float = math.nan,
    ) -> None:
        self.contributions, self.weights, self.observed = contributions, weights, observed
        self.support, self.one_sample = support, one_sample

    @cached_property
    def verdict(self) -> Verdict:
        """The worse of the weights' verdict and that of the average's own contributions; of several the worst."""
        own = self.own_verdict
        return worst([self.weights.verdict, *([own] if own.trust > Trust.TRUST else [])])

    @property
    def own_verdict(self) -> Verdict:
        """The verdict on the contributions alone."""
        found = self.contributions
        parts = zip(*(part.flatten().tolist() for part in (found.error, found.carriers, found.shape)), strict=True)
        verdicts = [self._judged(*part) for part in parts]
        if not verdicts:
            return Verdict(Trust.TRUST, "there are no values")
        least = max(verdicts, key=lambda verdict: verdict.trust)
        alike = sum(verdict.trust == least.trust for verdict in verdicts)
        return least if alike == 1 else Verdict(least.trust, f"{least.reason} (one of {alike} such values)")

    def _judged(self, error: float, carriers: float, shape: float) -> Verdict:
        number, weights = self.contributions.number, self.weights
        if math.isinf(error):
            return Verdict(Trust.DO_NOT_USE, "one sample, or one group, has all the weight")
        if error == 0.0:
            if self.observed is Observed.SHARE:
                reason = f"a fraction below about {3 * self.one_sample:.2g} would not be detected"
                return Verdict(Trust.DO_NOT_USE, reason)
            return Verdict(Trust.TRUST, "all values are the same")
        tail = self.contributions.tail
        many = _RARE if self.observed is Observed.SHARE else min(_MANY, _PART * number)
        rest = f"the error is determined by {carriers:.3g} of {number:,} contributions"
        if carriers >= many and _upper(shape, tail) <= _SAFE_VARIANCE:
            return Verdict(Trust.TRUST, rest)
        if weights.nearly_equal and (
            (self.observed is Observed.MOMENT and carriers >= _ONE)
            or (carriers >= (_RARE if self.observed is Observed.SHARE else _FEW) and shape <= _HEAVY)
        ):
            return Verdict(Trust.TRUST, rest)
        if carriers < _ONE and weights.ess < _NEARLY_EQUAL:
            return Verdict(Trust.DO_NOT_USE, rest)
        if _upper(shape, tail) > _SAFE_VARIANCE:
            rest = f"its contributions may have a heavy tail (Pareto k̂ {shape:.2f}, from {tail} samples)"
        return Verdict(Trust.WITH_CARE, rest)

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        """The ends of the interval around the value, within the support."""
        offsets = (np.asarray(offset) for offset in self.contributions.interval(level))
        low, high = (np.clip(value + offset, *self.support) for offset in offsets)
        if self.observed is Observed.SHARE:
            # No sample inside: the upper limit follows from (1 − p)ⁿ.
            unseen = 1.0 - (0.5 - 0.5 * level) ** self.one_sample
            alike = np.asarray(self.contributions.error) == 0.0
            high = np.where(alike & (np.asarray(value) < 0.5), unseen, high)
            low = np.where(alike & (np.asarray(value) > 0.5), 1.0 - unseen, low)
        return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)


class QuantileLaw:
    """The error of a quantile, or of several (…), from the error of the fraction of samples below a value.

    The interval holds the values for which the requested fraction lies within the confidence interval of the fraction
    below (Woodruff 1952, DOI 10.1080/01621459.1952.10483443, but without his single width for both ends).

    Args:
        share: the requested fraction.
        below: returns, for values (…), the law of the fraction of samples that do not exceed them.
        distributions: one for each element, in order.
        found: the quantiles (…).
    """

    def __init__(
        self,
        share: float,
        below: Callable[[torch.Tensor], AverageLaw],
        distributions: Sequence[importance.MidDistribution],
        found: torch.Tensor,
    ) -> None:
        self.share, self.below, self.distributions, self.found = share, below, distributions, found

    @cached_property
    def _at_found(self) -> AverageLaw:
        return self.below(self.found)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the fraction below the quantile."""
        return self._at_found.verdict

    @property
    def own_verdict(self) -> Verdict:
        """The same from its own contributions alone."""
        return self._at_found.own_verdict

    @property
    def error(self) -> Array:
        """The standard error (…) of a normal distribution whose 95 % interval has the length of this one.

        Infinite where the interval extends beyond the samples, and where all samples have one value.
        """
        low, high = (np.asarray(end) for end in self.ends(None, 0.95))
        return np.where(high > low, (high - low) / (2 * NormalDist().inv_cdf(0.975)), math.inf)

    def ends(self, value: Any, level: float) -> tuple[Any, Any]:
        """The interval; the value itself is not needed."""
        low, high = (self._end(level, outermost) for outermost in (0.0, 1.0))
        return (float(low), float(high)) if low.ndim == 0 else (low, high)

    def _end(self, level: float, outermost: float) -> Array:
        """One end, by bisection over the fraction below.

        Beyond the last sample the number of samples bounds the fraction; otherwise the end is infinite.
        """
        inner, outer = (torch.full(self.found.shape, share, dtype=torch.float64) for share in (self.share, outermost))
        endless = self._possible(outer, level, outermost)
        for _ in range(_BISECTIONS):
            middle = (inner + outer) / 2
            possible = self._possible(middle, level, outermost)
            inner, outer = inner.where(~possible, middle), outer.where(possible, middle)
        return np.where(endless, math.copysign(math.inf, outermost - 0.5), self._values(inner).numpy())

    def _possible(self, shares: torch.Tensor, level: float, outermost: float) -> torch.Tensor:
        """Whether the quantile may be the value with these fractions (…) below."""
        values = self._values(shares).where(shares > 0.0, -math.inf)
        low, high = (np.asarray(end) for end in self.below(values).ends(shares.numpy(), level))
        return torch.as_tensor(high >= self.share if outermost == 0.0 else low <= self.share)

    def _values(self, shares: torch.Tensor) -> torch.Tensor:
        if not self.distributions:
            return shares
        parts = [d.quantile(share) for d, share in zip(self.distributions, shares.flatten(), strict=True)]
        return torch.stack(parts).reshape(shares.shape)


def ess_by_size(log_weights: Array) -> list[tuple[int, float]]:
    """(m, mean effective sample size of parts of m samples, as a fraction), for m = n, n/2, n/4, … ≥ 32.

    log_weights: (n,) in the order in which the samples were drawn, or any other that does not depend on them.
    """
    n, found = len(log_weights), []
    for halvings in range(max(1, n.bit_length())):
        size = n >> halvings
        if size < _SMALLEST and halvings > 0:
            break
        found.append((size, _ess_of_parts(log_weights, size)))
    return found


def _ess_of_parts(log_weights: Array, size: int) -> float:
    """The effective sample size as a fraction, averaged over all parts of one size."""
    parts = torch.from_numpy(log_weights[: len(log_weights) // size * size].reshape(-1, size))
    log_ess = 2 * parts.logsumexp(1) - (2 * parts).logsumexp(1) - math.log(size)
    return float(log_ess.exp().nan_to_num(nan=0.0).clamp(max=1.0).mean())


def _upper(shape: float, tail: int) -> float:
    """The upper confidence limit of k̂ from `tail` samples: its standard error is (1 + k)/√m (Smith 1987)."""
    return shape + _ONE_SIDED * (1.0 + max(shape, 0.0)) / math.sqrt(max(tail, 1)) if shape > -math.inf else shape


def _pareto_limits(n: int) -> tuple[float, float]:
    """Vehtari et al. (2024): n samples are enough for averages up to a shape of min(1 − 1/log₁₀ n, 0.7)."""
    care, no_use = _PARETO_K
    enough = 1.0 - 1.0 / math.log10(max(n, 11))
    return min(care, enough), min(no_use, enough)


def _above(value: float, limits: tuple[float, float], reason: str) -> Iterator[Verdict]:
    care, no_use = limits
    if value > care:
        yield Verdict(Trust.DO_NOT_USE if value > no_use else Trust.WITH_CARE, reason)


def _below(value: float, limits: tuple[float, float], reason: str) -> Iterator[Verdict]:
    care, no_use = limits
    yield from _above(-value, (-care, -no_use), reason)
