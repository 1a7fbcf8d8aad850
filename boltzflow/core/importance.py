"""Importance weights: effective sample size, normalising constant, means, quantiles, bootstrap, resampling.

All functions take log-weights (n,), −inf for a sample of weight zero, and compute in log space and float64. Samples
may belong to groups (n,) of dependent samples, such as a Markov chain or the descendants of one sample. Errors are then
computed from the sums of groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from boltzflow.core.contributions import Contributions
from boltzflow.core.pareto import pareto_tail, tail_size
from boltzflow.errors import NonFiniteError, OptionError, ShapeError

Scheme = Literal["systematic", "residual", "multinomial"]
"""Resampling schemes of `resample`."""

_NUMBERS_AT_ONCE = 2**24


def normalized_weights(log_weights: Tensor) -> Tensor:
    """Normalised weights (n,), float64; their sum is 1.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> normalized_weights(torch.tensor([0.0, 0.0, -torch.inf]))
    tensor([0.5000, 0.5000, 0.0000], dtype=torch.float64)
    """
    return torch.softmax(_some_positive(log_weights), 0)


def effective_sample_size(log_weights: Tensor) -> float:
    """Kish's effective sample size as a fraction of n: (Σw)² / (n Σw²), between 0 and 1; weights are not clipped.

    >>> effective_sample_size(torch.zeros(10))
    1.0
    """
    log_weights = _checked(log_weights)
    if not torch.isfinite(log_weights).any():
        return 0.0
    log_fraction = 2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0) - math.log(len(log_weights))
    return min(1.0, log_fraction.exp().item())


def forward_effective_sample_size(log_weights: Tensor, log_z: float) -> float:
    """The effective sample size, a fraction, from samples of p instead of q: Z / E_p[w], for w = p̃/q and Z = ∫p̃.

    E_q[w]² / E_q[w²] is the same number, but samples of q cannot reveal regions that q does not sample. Samples of p in
    these regions have large weights, and infinite ones (log-weight +inf) where q is zero.

    log_weights: (n,) of equally weighted samples of p; log_z: log Z, estimated from samples of q.

    >>> round(forward_effective_sample_size(torch.tensor([0.0, 0.0, math.log(4.0)]), log_z=0.0), 6)
    0.5
    """
    return math.exp(log_z - (log_weights.double().logsumexp(0) - math.log(len(log_weights))).item())


def effective_groups(log_weights: Tensor, groups: Tensor | None = None) -> float:
    """The effective number of independent groups, (Σs)² / Σs² of their weights s; without groups, that of samples.

    Raises:
        ShapeError: if there is not one group for each weight.
        NonFiniteError: if no weight is positive.

    >>> effective_groups(torch.zeros(6), torch.tensor([0, 0, 0, 1, 1, 1]))
    2.0
    """
    return 1.0 / _group_sums(normalized_weights(log_weights), groups).square().sum().item()


def perplexity(log_weights: Tensor) -> float:
    """exp of the entropy of the normalised weights, as a fraction of n: between 0 and 1, at least the effective size.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> round(perplexity(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])), 12)
    0.5
    """
    weights = normalized_weights(log_weights)
    return math.exp(torch.special.entr(weights).sum().item()) / len(weights)


def clipped(log_weights: Tensor, fraction: float = 1e-4) -> Tensor:
    """Log-weights (n,) with the largest `fraction` of them clipped to the smallest of these.

    A biased regularisation, used for the "clipped ESS" in the literature (Schopmans & Friederich 2025,
    arXiv 2501.19077).

    >>> clipped(torch.tensor([0.0, 1.0, 2.0, 9.0]), fraction=0.5)
    tensor([0., 1., 2., 2.], dtype=torch.float64)
    """
    if not 0.0 <= fraction < 1.0:
        raise OptionError(f"Expected a fraction of weights to clip in [0, 1); got {fraction:g}.")
    log_weights = _checked(log_weights)
    count = int(fraction * len(log_weights))
    return log_weights.clamp(max=log_weights.topk(count).values[-1]) if count else log_weights


def log_mean_weight(log_weights: Tensor, groups: Tensor | None = None) -> tuple[float, float]:
    """log of the mean weight, and its standard error.

    With w = p̃(x)/q(x) and x ~ q this estimates log Z = log ∫p̃. The error is a jackknife estimate, as for
    `weighted_mean`. It equals that of the delta method if no weight is large. If one sample has nearly all the weight,
    it is the difference between log Z with and without this sample; the true error may be larger, from weights that are
    not in the sample. It is infinite if a single sample, or a single group, has all the weight. With groups, the error
    is that for the descendants of n samples (Chan & Lai 2013, DOI 10.1214/13-AOS1143), some of which have none. For
    groups whose sizes were fixed in advance it is an upper bound.

    Raises:
        ShapeError: if there is not one group for each weight.
        NonFiniteError: if no weight is positive.
    """
    log_weights = _some_positive(log_weights)
    value = (log_weights.logsumexp(0) - math.log(len(log_weights))).item()
    changes = changes_of_log_mean(log_weights, groups)
    return value, changes.square().sum().sqrt().item() if changes.isfinite().all() else math.inf


def changes_of_log_mean(log_weights: Tensor, groups: Tensor | None = None) -> Tensor:
    """Contributions of groups to the error of `log_mean_weight` (n,): leave-one-out changes.

    Their squares sum to the variance. They are centred. Those of G groups come first, in ascending order, then those of
    the n − G samples without descendants; all are infinite if one group has all the weight.

    Raises:
        ShapeError: if there is not one group for each weight.
        NonFiniteError: if no weight is positive.
    """
    weights = normalized_weights(log_weights)
    fractions = torch.zeros_like(weights)
    of_groups = _group_sums(weights, groups)
    fractions[: len(of_groups)] = of_groups
    if (fractions > 0).sum() == 1:
        return torch.full_like(fractions, math.inf)
    changes, largest = -torch.log1p(-fractions), fractions.argmax()
    # For a fraction near 1, 1 − fraction suffers from cancellation: the other fractions are summed instead.
    changes[largest] = -torch.cat([fractions[:largest], fractions[largest + 1 :]]).sum().log()
    return _unrounded(changes - changes.mean(), changes.abs().max()) * math.sqrt(1.0 - 1.0 / len(fractions))


def changes_of_mean(values: Tensor, log_weights: Tensor, groups: Tensor | None = None) -> Tensor:
    """Contributions of G groups to the error of `weighted_mean` (G, …); their squares sum to the variance.

    The contribution of a group that has all the weight is NaN.

    Raises:
        ShapeError: if there is not one value, and one group, for each weight.
        NonFiniteError: if no weight is positive.
    """
    weights, values = _aligned(values, log_weights)
    deviations = values.double() - (weights * values).sum(0)
    return _jackknife(weights, _unrounded(deviations.where(weights > 0, 0.0), values.double().abs().amax(0)), groups)


def contributions_to_mean(
    values: Tensor, log_weights: Tensor, groups: Tensor | None = None, shape: float | None = None
) -> Contributions:
    """Contributions of samples and groups to the error of `weighted_mean`, for values (n, …), in batches of columns.

    shape: k̂ of the tail of the samples' contributions, if it is known.

    Raises:
        ShapeError: if there is not one value, and one group, for each weight.
        NonFiniteError: if no weight is positive.
    """
    columns = values.flatten(1) if values.dim() > 1 else values[:, None]
    parts = []
    for some in torch.split(columns, max(1, _NUMBERS_AT_ONCE // len(columns)), 1):
        changes = changes_of_mean(some, log_weights, groups)
        alone = groups is None or shape is not None
        parts.append(Contributions.of(changes, None if alone else changes_of_mean(some, log_weights), shape))
    return Contributions.joined(parts, values.shape[1:], tail_size(len(values)))


def pareto_shape(log_weights: Tensor) -> float:
    """The shape k̂ of the generalised Pareto distribution that fits the largest weights.

    Below 0.5 the variance of the weights is finite; above 0.7 weighted averages are unreliable
    (Vehtari et al. 2024, arXiv 1507.02646). NaN with fewer than 25 samples of positive weight; −inf if the largest
    weights are equal.
    """
    largest = largest_weights(log_weights)
    return math.nan if largest is None else pareto_tail(largest).shape


def largest_weights(log_weights: Tensor) -> Tensor | None:
    """The weights to which k̂ is fitted, preceded by their threshold, relative to the largest, in ascending order.

    None with fewer than 25 samples of positive weight.
    """
    log_weights = _checked(log_weights)
    tail = tail_size(int(torch.isfinite(log_weights).sum()))
    if tail < 5:
        return None
    top = log_weights.topk(tail + 1).values.flip(0)
    return (top - top[-1]).exp()


def weighted_mean(values: Tensor, log_weights: Tensor, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Self-normalised mean and its standard error. values: (n, …) → (…), (…).

    The error is a jackknife estimate: the scatter of means that leave one sample or group out. It equals that of the
    delta method if no weight is large. If one sample has nearly all the weight, it is the distance from the mean of the
    other samples. It is infinite if a single sample, or a single group, has all the weight. Values of weight zero are
    ignored, so they may be NaN. Means of booleans are fractions. If none or all of them are true, there is no scatter,
    and the error is the fraction of one effective sample, or of one effective group.

    Raises:
        ShapeError: if there is not one value, and one group, for each weight.
        NonFiniteError: if no weight is positive.
    """
    weights, values = _aligned(values, log_weights)
    mean = (weights * values).sum(0)
    error = _jackknife(weights, values.double() - mean, groups).square().sum(0).sqrt()
    return _checked_estimate(values, weights.flatten(), mean, error, groups)


def bootstrap_mean(
    values: Tensor, log_weights: Tensor, replicates: int, generator: torch.Generator, groups: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Like `weighted_mean`, with the scatter of bootstrap replicates as the error.

    The error is infinite if a replicate contains no sample of positive weight.

    Raises:
        ShapeError: if there is not one value, and one group, for each weight.
        OptionError: if there are fewer than two replicates.
        NonFiniteError: if no weight is positive.
    """
    if replicates < 2:
        raise OptionError(f"Expected at least 2 bootstrap replicates; got {replicates}.")
    weights, values = _aligned(values, log_weights)
    numbers = values.double()

    def mean_of(drawn: Tensor) -> Tensor:
        total: Tensor = torch.tensordot(drawn, numbers, 1)
        return total / drawn.sum()

    error = bootstrap_error(mean_of, log_weights, replicates, generator, groups)
    return _checked_estimate(values, weights.flatten(), (weights * values).sum(0), error, groups)


def weighted_covariance(values: Tensor, log_weights: Tensor, groups: Tensor | None = None) -> Tensor:
    """Covariance (k, k) of the errors of k self-normalised means. values: (n, k).

    Its diagonal is the square of the error of `weighted_mean`, except for booleans that are all equal, where it is
    zero. It is infinite if a single sample, or a single group, has all the weight.

    Raises:
        ShapeError: if there is not one row of values, and one group, for each weight.
        NonFiniteError: if no weight is positive.

    >>> weighted_covariance(torch.eye(2), torch.zeros(2))
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]], dtype=torch.float64)
    """
    weights, values = _aligned(values, log_weights)
    changes = _jackknife(weights, values.double() - (weights * values).sum(0), groups)
    alone = (_group_sums(weights, groups) > 0).sum() == 1
    return torch.full_like(changes.T @ changes, math.inf) if alone else changes.T @ changes


def weighted_quantile(values: Tensor, log_weights: Tensor, share: float) -> Tensor:
    """The weighted quantile at the cumulative weight `share`: (n, …) → (…).

    Values of weight zero are ignored.

    Raises:
        ShapeError: if there is not one value for each weight.
        OptionError: if `share` is not between 0 and 1.
        NonFiniteError: if no weight is positive.

    >>> weighted_quantile(torch.arange(5.0), torch.zeros(5), 0.5)
    tensor(2., dtype=torch.float64)
    """
    if not 0.0 < share < 1.0:
        raise OptionError(f"Expected a share between 0 and 1; got {share:g}.")
    weights, values = _aligned(values, log_weights)
    used = weights.flatten() > 0
    ordered, order = values[used].double().sort(0)
    below = weights[used].expand_as(ordered).gather(0, order).cumsum(0)
    # The last sum may be slightly below 1 because of rounding.
    place = (below < share).sum(0, keepdim=True).clamp(max=len(ordered) - 1)
    found: Tensor = ordered.gather(0, place)[0]
    return found


class MidDistribution:
    """The mid-distribution of a weighted variable: half of a value's weight lies below it and half above.

    It is linear between values, so that it increases everywhere, even with ties (Ma, Genton & Parzen 2011, DOI
    10.1007/s10463-009-0234-6).

    Args:
        values: (n,).
        log_weights: (n,).

    >>> MidDistribution(torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.zeros(4)).quantile(torch.tensor([0.0, 0.25, 0.5]))
    tensor([1.0000, 1.3333, 2.0000], dtype=torch.float64)
    """

    def __init__(self, values: Tensor, log_weights: Tensor) -> None:
        weights = normalized_weights(log_weights)
        self.values, place = values[weights > 0].double().unique(return_inverse=True)  # type: ignore[no-untyped-call]
        mass = torch.zeros_like(self.values).index_add_(0, place, weights[weights > 0])
        self.shares = mass.cumsum(0) - 0.5 * mass

    def quantile(self, share: Tensor) -> Tensor:
        """Quantiles (…) at cumulative weights (…); the smallest or the largest value near 0 and 1."""
        inner = share.clamp(self.shares[0], self.shares[-1])
        if len(self.values) == 1:
            return torch.full_like(inner, self.values.item())
        right = torch.searchsorted(self.shares, inner).clamp(1, len(self.values) - 1)
        low, high = self.shares[right - 1], self.shares[right]
        found: Tensor = self.values[right - 1].lerp(self.values[right], (inner - low) / (high - low))
        return found


def bootstrap(
    statistic: Callable[[Tensor], Tensor],
    log_weights: Tensor,
    replicates: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Tensor:
    """Bootstrap replicates of a statistic of weighted samples: (replicates, …).

    `statistic` maps unnormalised weights (n,) float64 to a tensor. A replicate multiplies each weight by the number of
    times that the sample, or its group, was drawn; the samples keep their order.

    Raises:
        ShapeError: if there is not one group for each weight.
        NonFiniteError: if no weight is positive.
    """
    log_weights = _some_positive(log_weights)
    weights = (log_weights - log_weights.max()).exp()
    names, index = _numbered(weights, groups)
    counts = (
        torch.bincount(torch.randint(names, (names,), generator=generator), minlength=names) for _ in range(replicates)
    )
    return torch.stack([statistic(weights * (c if index is None else c[index])) for c in counts])


def bootstrap_error(
    statistic: Callable[[Tensor], Tensor],
    log_weights: Tensor,
    replicates: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Tensor:
    """The standard error (…) of a statistic as in `bootstrap`: the scatter of replicates times √(G / (G − 1)).

    The factor corrects the bias of the bootstrap variance for G samples or groups. The error is infinite if one of them
    has all the weight, or if a replicate is NaN, such as a ratio without samples of positive weight.

    Raises:
        ShapeError: if there is not one group for each weight.
        NonFiniteError: if no weight is positive.
    """
    spread = bootstrap(statistic, log_weights, replicates, generator, groups).std(0)
    fractions = _group_sums(normalized_weights(log_weights), groups)
    if (fractions > 0).sum() == 1:
        return torch.full_like(spread, math.inf)
    return spread.nan_to_num(nan=math.inf) * math.sqrt(len(fractions) / (len(fractions) - 1))


def resample(
    log_weights: Tensor, n: int, generator: torch.Generator | None = None, scheme: Scheme = "systematic"
) -> Tensor:
    """Indices (n,) drawn in proportion to the weights; in ascending order, except with "residual".

    Counts have the expectation n·w with each scheme (Douc & Cappé 2005, arXiv cs/0507025). "multinomial" draws
    independently. "residual" gives each sample the integer part of n·w and draws the rest independently. "systematic"
    takes equal steps in the cumulative weights, so that no count differs from its expectation by more than 1.

    Raises:
        OptionError: if the scheme is unknown, or n is below 1.
        NonFiniteError: if no weight is positive.
    """
    if scheme not in get_args(Scheme) or n < 1:
        schemes = ", ".join(get_args(Scheme))
        raise OptionError(f"Expected n ≥ 1 and one of the schemes {schemes}; got {n} and {scheme!r}.")
    weights = normalized_weights(log_weights)
    if scheme == "residual":
        whole = (n * weights).floor()
        indices = torch.arange(len(weights), device=weights.device).repeat_interleave(whole.long())
        if len(indices) == n:
            return indices
        rest = (n * weights - whole).log()
        return torch.cat([indices, resample(rest, n - len(indices), generator, "multinomial")])
    edges = weights.cumsum(0)
    shape = (n,) if scheme == "multinomial" else ()
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=edges.device)
    if scheme == "systematic":
        uniform = (torch.arange(n, dtype=torch.float64, device=edges.device) + uniform) / n
    # right=True: a position on an edge belongs to the next sample, so that samples of weight zero are never drawn.
    return torch.searchsorted(edges, uniform.sort().values * edges[-1], right=True).clamp(max=len(edges) - 1)


def accept(log_weights: Tensor, log_bound: float, generator: torch.Generator | None = None) -> Tensor:
    """Indices (m,) of samples accepted with probability w / bound: independent samples of p (von Neumann 1951).

    Exact if no weight p/q can exceed the bound. `samplers.rejection_sampling` draws until it has enough samples.

    Raises:
        OptionError: if a weight exceeds the bound.
        NonFiniteError: if no weight is positive.
    """
    log_weights = _some_positive(log_weights)
    if not log_weights.max() <= log_bound:
        raise OptionError(f"Expected log-weights up to the bound {log_bound:g}; got one of {log_weights.max():g}.")
    uniform = torch.rand(log_weights.shape, generator=generator, dtype=torch.float64, device=log_weights.device)
    return (uniform.log() < log_weights - log_bound).nonzero().squeeze(1)


def _jackknife(weights: Tensor, deviations: Tensor, groups: Tensor | None) -> Tensor:
    """Leave-one-out changes of the mean for G groups, times √((G − 1)/G): (G, …); their squares sum to the variance.

    weights: (n, 1, …); deviations: (n, …), from the mean. NaN for a group that has all the weight.
    """
    sums, fractions = _group_sums(weights * deviations, groups), _group_sums(weights, groups)
    rest, largest = 1.0 - fractions, fractions.argmax()
    # What is left beside a share of nearly 1 is lost in its rounding: it is summed instead.
    others = torch.arange(len(fractions), device=fractions.device) != largest
    rest[largest], sums[largest] = fractions[others].sum(), -sums[others].sum(0)
    return sums / rest * math.sqrt(1.0 - 1.0 / len(sums))


def _unrounded(deviations: Tensor, scale: Tensor) -> Tensor:
    """Deviations (n, …) from a mean, set to exactly 0 if they are only rounding of values of a scale (…)."""
    return deviations.where(deviations.abs().amax(0) > 1e-12 * scale, 0.0)


def _group_sums(parts: Tensor, groups: Tensor | None) -> Tensor:
    """parts (n, …) summed over each group: (number of groups, …); unchanged without groups."""
    number, index = _numbered(parts, groups)
    return parts if index is None else parts.new_zeros(number, *parts.shape[1:]).index_add_(0, index, parts)


def _numbered(parts: Tensor, groups: Tensor | None) -> tuple[int, Tensor | None]:
    """The number of groups, and the group of each of n parts; None if each part is its own group."""
    if groups is None:
        return len(parts), None
    if groups.shape != parts.shape[:1]:
        raise ShapeError(f"Expected one group for each of {len(parts)} weights; got {tuple(groups.shape)}.")
    names, index = groups.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return len(names), index


def _aligned(values: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised weights (n, 1, …), and values (n, …), set to zero where the weight is zero."""
    if len(values) != len(log_weights):
        raise ShapeError(f"Expected one value for each of {len(log_weights)} weights; got {len(values)}.")
    weights = normalized_weights(log_weights).reshape(-1, *[1] * (values.dim() - 1))
    return weights, torch.where(weights > 0, values, torch.zeros((), dtype=values.dtype, device=values.device))


def _checked_estimate(
    values: Tensor, weights: Tensor, mean: Tensor, error: Tensor, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The error is infinite for a single group; booleans (n, …) that are all equal have a mean of exactly 0 or 1."""
    fractions = _group_sums(weights, groups)
    if (fractions > 0).sum() == 1:
        return mean, torch.full_like(mean, math.inf)
    if values.dtype != torch.bool:
        return mean, error
    inside = values.sum(0)  # False where the weight is zero
    alike = (inside == 0) | (inside == (weights > 0).sum())
    return torch.where(alike, (inside > 0).double(), mean), torch.where(alike, fractions.square().sum(), error)


def _checked(log_weights: Tensor) -> Tensor:
    if log_weights.dim() != 1 or len(log_weights) == 0:
        raise ShapeError(f"Expected log-weights of shape (n,) with n ≥ 1; got {tuple(log_weights.shape)}.")
    if torch.isnan(log_weights).any() or (log_weights == torch.inf).any():
        raise NonFiniteError("Expected log-weights that are finite or −inf; got NaN or +inf.")
    return log_weights.detach().double()


def _some_positive(log_weights: Tensor) -> Tensor:
    log_weights = _checked(log_weights)
    if not torch.isfinite(log_weights).any():
        raise NonFiniteError(f"Expected at least one positive weight; all {len(log_weights)} are zero.")
    return log_weights
