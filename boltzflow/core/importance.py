"""Importance weights: effective sample size, normalising constant, means, quantiles, bootstrap, resampling.

Everything takes log-weights (n,), −inf for a sample of weight zero, and works in log space and float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from boltzflow.errors import NonFiniteError, OptionError, ShapeError


def normalized_weights(log_weights: Tensor) -> Tensor:
    """Weights (n,) that add up to 1, float64.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> normalized_weights(torch.tensor([0.0, 0.0, -torch.inf]))
    tensor([0.5000, 0.5000, 0.0000], dtype=torch.float64)
    """
    return torch.softmax(_some_positive(log_weights), 0)


def effective_sample_size(log_weights: Tensor) -> float:
    """Kish's effective sample size as a fraction of n: (Σw)² / (n Σw²), between 0 and 1; never clipped.

    >>> effective_sample_size(torch.zeros(10))
    1.0
    """
    log_weights = _checked(log_weights)
    if not torch.isfinite(log_weights).any():
        return 0.0
    log_fraction = 2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0) - math.log(len(log_weights))
    return min(1.0, log_fraction.exp().item())


def clipped(log_weights: Tensor, fraction: float = 1e-4) -> Tensor:
    """Log-weights (n,) with the top `fraction` of them lowered to the smallest among these.

    A biased regularisation: what others report as "clipped ESS" (Schopmans & Friederich 2025, arXiv 2501.19077).

    >>> clipped(torch.tensor([0.0, 1.0, 2.0, 9.0]), fraction=0.5)
    tensor([0., 1., 2., 2.], dtype=torch.float64)
    """
    if not 0.0 <= fraction < 1.0:
        raise OptionError(f"Expected a fraction of weights to clip in [0, 1); got {fraction:g}.")
    log_weights = _checked(log_weights)
    count = int(fraction * len(log_weights))
    return log_weights.clamp(max=log_weights.topk(count).values[-1]) if count else log_weights


def log_mean_weight(log_weights: Tensor) -> tuple[float, float]:
    """log of the mean weight, and its standard error by the delta method.

    With w = p̃(x)/q(x) and x ~ q this estimates log Z = log ∫p̃. The error is infinite for a single sample.

    Raises:
        NonFiniteError: if no weight is positive.
    """
    log_weights = _some_positive(log_weights)
    n = len(log_weights)
    value = (log_weights.logsumexp(0) - math.log(n)).item()
    relative_variance = 1.0 / effective_sample_size(log_weights) - 1.0  # of one weight: var(w) / mean(w)²
    return value, math.sqrt(relative_variance / (n - 1)) if n > 1 else math.inf


def pareto_shape(log_weights: Tensor) -> float:
    """The shape k̂ of the generalised Pareto distribution that fits the largest weights.

    Below 0.5 the weights' variance is finite; above 0.7 averages over them are not to be trusted
    (Vehtari et al. 2024, arXiv 1507.02646). NaN with fewer than 25 samples of positive weight. The fit is that of
    Zhang & Stephens (2009), with a weak prior towards 0.5.
    """
    log_weights = _checked(log_weights)
    n = int(torch.isfinite(log_weights).sum())
    tail = int(min(n / 5, 3 * math.sqrt(n)))
    if tail < 5:
        return math.nan
    top = log_weights.topk(tail + 1).values.flip(0)  # ascending; the smallest is the threshold
    excess = (top[1:] - top[-1]).exp() - (top[0] - top[-1]).exp()
    if excess[-1] <= 0:
        return -math.inf  # all equal: no tail
    candidates = 30 + int(math.sqrt(tail))
    steps = torch.arange(1, candidates + 1, dtype=torch.float64)
    quartile = excess[int(tail / 4 + 0.5) - 1].clamp(min=torch.finfo(torch.float64).tiny)
    theta = 1 / excess[-1] + (1 - (candidates / (steps - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-theta[:, None] * excess).mean(1)
    log_likelihood = tail * ((-theta / shapes).log() - shapes - 1)
    best = (torch.softmax(log_likelihood, 0) * theta).sum()
    shape = torch.log1p(-best * excess).mean().item()
    return (tail * shape + 10 * 0.5) / (tail + 10)


def weighted_mean(values: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Self-normalised mean and its standard error by the delta method. values: (n, …) → (…), (…).

    Values of weight zero are not looked at, so they may be NaN. The error is infinite where a single
    sample carries the mean. Means of booleans are shares: where none or all of them are true, which leaves no scatter
    to see, the error is the share of one effective sample.

    Raises:
        ShapeError: if there is not one value for each weight.
        NonFiniteError: if no weight is positive.
    """
    weights, values = _used(values, log_weights)
    mean = (weights * values).sum(0)
    if len(values) == 1:
        return mean, torch.full_like(mean, math.inf)
    n = len(log_weights)
    error = ((weights * (values.double() - mean)).square().sum(0) * n / (n - 1)).sqrt()
    return (mean, error) if values.dtype != torch.bool else _shares(values, mean, error, log_weights)


def bootstrap_mean(
    values: Tensor, log_weights: Tensor, replicates: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Like `weighted_mean`, with the scatter of bootstrap replicates as error.

    The error is infinite where a replicate draws no sample of positive weight: there are too few.

    Raises:
        ShapeError: if there is not one value for each weight.
        OptionError: if there are fewer than two replicates.
        NonFiniteError: if no weight is positive.
    """
    if replicates < 2:
        raise OptionError(f"Expected at least 2 bootstrap replicates; got {replicates}.")
    weights, values = _used(values, log_weights)
    used, numbers = normalized_weights(log_weights) > 0, values.double()

    def mean_of(drawn: Tensor) -> Tensor:
        total: Tensor = torch.tensordot(drawn[used], numbers, 1)
        return total / drawn.sum()

    error = bootstrap(mean_of, log_weights, replicates, generator).std(0).nan_to_num(nan=math.inf)
    mean = (weights * values).sum(0)
    return (mean, error) if values.dtype != torch.bool else _shares(values, mean, error, log_weights)


def weighted_covariance(values: Tensor, log_weights: Tensor) -> Tensor:
    """Covariance (k, k) of the errors of k self-normalised means, by the delta method. values: (n, k).

    Its diagonal is what `weighted_mean` gives squared, except for booleans that are all alike, where it is zero.

    Raises:
        ShapeError: if there is not one row of values for each weight.
        NonFiniteError: if no weight is positive.

    >>> weighted_covariance(torch.eye(2), torch.zeros(2))
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]], dtype=torch.float64)
    """
    weights, values = _used(values, log_weights)
    deviations = weights * (values.double() - (weights * values).sum(0))
    n = len(log_weights)
    products: Tensor = deviations.T @ deviations
    return products * (n / (n - 1)) if n > 1 else torch.full_like(products, math.inf)


def weighted_quantile(values: Tensor, log_weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The least of the values that `share` of the weight does not exceed, and its standard error: (n, …) → (…), (…).

    The error is half the distance between the quantiles one standard error of the share below and above (Woodruff
    1952, DOI 10.1080/01621459.1952.10483443), infinite where the samples do not reach so far. Values of weight zero
    are not looked at.

    Raises:
        ShapeError: if there is not one value for each weight.
        OptionError: if the share is not between 0 and 1.
        NonFiniteError: if no weight is positive.

    >>> weighted_quantile(torch.arange(5.0), torch.zeros(5), 0.5)[0]
    tensor(2., dtype=torch.float64)
    """
    if not 0.0 < share < 1.0:
        raise OptionError(f"Expected a share between 0 and 1; got {share:g}.")
    weights, values = _used(values, log_weights)
    ordered, order = values.double().sort(0)
    below = weights.expand_as(ordered).gather(0, order).cumsum(0)

    def quantile(shares: Tensor) -> Tensor:
        # The last sum may fall short of 1 by rounding.
        place = (below < shares).sum(0, keepdim=True).clamp(max=len(ordered) - 1)
        return ordered.gather(0, place)[0]

    found = quantile(torch.full_like(ordered[0], share))
    _, error = weighted_mean(values <= found, weights.flatten().log())
    low, high = share - error, share + error
    half = (quantile(high) - quantile(low)) / 2
    return found, torch.where((low > 0) & (high < 1), half, math.inf)


def bootstrap_counts(n: int, replicates: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each of `n` samples is drawn in each of `replicates` bootstrap draws: (n,) int64, one by one."""
    for _ in range(replicates):
        yield torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n)


def bootstrap(
    statistic: Callable[[Tensor], Tensor], log_weights: Tensor, replicates: int, generator: torch.Generator
) -> Tensor:
    """Bootstrap replicates of a statistic of weighted samples: (replicates, …).

    `statistic` maps unnormalised weights (n,) float64 to a tensor; its samples stay where they are, and a
    replicate multiplies each weight by the number of times that the sample was drawn.

    Raises:
        NonFiniteError: if no weight is positive.
    """
    log_weights = _some_positive(log_weights)
    weights = (log_weights - log_weights.max()).exp()
    return torch.stack([statistic(weights * c) for c in bootstrap_counts(len(weights), replicates, generator)])


def resample(log_weights: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices (n,) drawn in proportion to the weights, by systematic resampling (least variance of the counts).

    Raises:
        NonFiniteError: if no weight is positive.
    """
    edges = normalized_weights(log_weights).cumsum(0)
    offset = torch.rand((), generator=generator, dtype=torch.float64, device=edges.device)
    places = (torch.arange(n, dtype=torch.float64, device=edges.device) + offset) / n * edges[-1]
    # right=True: a place on an edge belongs to the next sample, so one of weight zero is never drawn.
    return torch.searchsorted(edges, places, right=True).clamp(max=len(edges) - 1)


def _used(values: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised weights (m, 1, …) and values (m, …) of the samples of positive weight."""
    if len(values) != len(log_weights):
        raise ShapeError(f"Expected one value for each of {len(log_weights)} weights; got {len(values)}.")
    weights = normalized_weights(log_weights)
    used = weights > 0
    return weights[used].reshape(-1, *[1] * (values.dim() - 1)), values[used]


def _shares(found: Tensor, mean: Tensor, error: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and error of booleans (m, …), where they are all alike exactly 0 or 1 with a bound."""
    alike = (found == found[0]).all(0)
    bound = 1 / (effective_sample_size(log_weights) * len(log_weights))
    return torch.where(alike, found[0].double(), mean), torch.where(alike, bound, error)


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
