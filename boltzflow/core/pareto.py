"""Pareto tails of weights and of error contributions: the shape k̂, and Pareto-smoothed weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_HARDLY_VARY = 2.0  # largest ratio of the values of a tail that counts as constant


def tail_size(n: int) -> int:
    """The number of samples in the tail of n samples: min(n/5, 3√n) (Vehtari et al. 2024, arXiv 1507.02646)."""
    return int(min(n / 5, 3 * math.sqrt(n)))


class ParetoTail(NamedTuple):
    """The generalised Pareto distribution of excesses over a threshold: P(excess > x) = (1 + k x / σ)^(−1/k).

    Attributes:
        shape: k; −inf if all values are equal.
        scale: σ; 0 if all values are equal.
    """

    shape: float
    scale: float

    def quantiles(self, probabilities: Tensor) -> Tensor:
        """The quantiles of the excess at these probabilities."""
        logs = torch.log1p(-probabilities)
        return self.scale * (-logs if self.shape == 0.0 else torch.expm1(-self.shape * logs) / self.shape)


def pareto_tail(largest: Tensor) -> ParetoTail:
    """Fit the excesses over the smallest of these values.

    largest: (m + 1,) positive, in ascending order. The fit is that of Zhang & Stephens (2009, DOI
    10.1198/tech.2009.08017), with a weak prior of the shape towards 0.5 (Vehtari et al. 2024).
    """
    excess = largest[1:] - largest[0]
    tail = len(excess)
    if excess[0] == excess[-1]:
        return ParetoTail(-math.inf, 0.0)
    candidates = 30 + int(math.sqrt(tail))
    steps = torch.arange(1, candidates + 1, dtype=torch.float64)
    quartile = excess[int(tail / 4 + 0.5) - 1].clamp(min=1e-300)  # keeps the inverse finite if values are equal
    theta = 1 / excess[-1] + (1 - (candidates / (steps - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-theta[:, None] * excess).mean(1)
    # This likelihood is undefined at θ = 0, which equal values may give: it is left out.
    log_likelihood = (tail * ((-theta / shapes).log() - shapes - 1)).nan_to_num(nan=-torch.inf)
    best = (torch.softmax(log_likelihood, 0) * theta).sum()
    shape = torch.log1p(-best * excess).mean().item()
    return ParetoTail((tail * shape + 10 * 0.5) / (tail + 10), -shape / best.item())


def smoothed(log_weights: Tensor) -> Tensor:
    """Log-weights (n,) whose largest are replaced by quantiles of the fitted tail, truncated at the original maximum.

    Pareto-smoothed importance sampling (Vehtari et al. 2024, arXiv 1507.02646), for at least 25 finite log-weights.
    """
    values, places = log_weights.topk(tail_size(len(log_weights)) + 1)
    largest = (values.flip(0) - values[0]).exp()
    fitted = pareto_tail(largest)
    if fitted.scale == 0.0:
        return log_weights
    size = len(largest) - 1
    quantiles = largest[0] + fitted.quantiles((torch.arange(1, size + 1, dtype=torch.float64) - 0.5) / size)
    out = log_weights.clone()
    out[places[:-1].flip(0)] = quantiles.log().clamp(max=0.0).to(out) + values[0]
    return out


def relevant_shape(largest: Tensor) -> float:
    """k̂ as fitted by `pareto_tail`; −inf if the values hardly vary, because such a tail does not affect averages.

    Values equal to the smallest of the tail do not belong to it, for example if most numbers are 0.
    """
    if largest[len(largest) // 4] <= largest[0] * (1 + 1e-9):
        largest = largest[largest > largest[0] * (1 + 1e-9)]
        if len(largest) <= 5:
            return math.nan if len(largest) else -math.inf
    return -math.inf if largest[-1] <= _HARDLY_VARY * largest[0] else pareto_tail(largest).shape
