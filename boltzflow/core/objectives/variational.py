"""Objectives that evaluate the target: KL(q ‖ p), and the dispersion of log-weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.objectives.loss import Loss, path_log_prob, recorded, smallest, target_log_prob
from boltzflow.core.protocols import Model, Target
from boltzflow.errors import OptionError


def reverse_kl(
    flow: Model,
    target: Target,
    n: int,
    *,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
    beta: float = 1.0,
    path_gradient: bool = False,
    cap: Callable[[Tensor], Tensor] | None = None,
    drop_largest: float = 0.0,
    runs: int = 1,
) -> Loss:
    """KL(q ‖ p) up to log Z, from n samples of the flow: E_q[log q − β log p].

    Noé et al. 2019, DOI 10.1126/science.aaw1147. Samples whose term is not finite are left out.

    Args:
        flow: q.
        target: p.
        n: number of samples.
        context: (n, C) for flow and target, or None.
        generator: the random number generator.
        beta: non-negative; below 1 it flattens the target to p^β. Increasing it to 1 during training helps to avoid
            mode collapse (Rezende & Mohamed 2015, arXiv 1505.05770). The loss's `log_weights` are always those of p
            itself.
        path_gradient: whether to omit the score term, whose mean is zero, from the gradient: less noise when q is
            close to p, at the cost of one more pass (Roeder et al. 2017, arXiv 1703.09194; Vaitl et al. 2022,
            arXiv 2206.09016).
        cap: limits −log p for the gradient (see `EnergyCap`).
        drop_largest: the fraction of largest terms that is left out of the mean: robust to clashes, at the cost of a
            small bias of the objective (never of the weights).
        runs: the number of consecutive runs of equal length, each with one context and therefore one density.
            Densities with different contexts have different log Z. Terms are therefore ranked by their difference to
            the median of their run, and `log_weights` are relative to the run's mean weight, so that their effective
            sample size is the harmonic mean over the runs. The gradient is not affected, because log Z has none.

    Raises:
        OptionError: if `beta` is negative, `drop_largest` is not in [0, 1), or `runs` does not divide n.
        UnsupportedCombinationError: if a path gradient is requested with stochastic layers or dropout.

    >>> from boltzflow.core import Domain, distributions, recipes
    >>> flow = recipes.spline_flow(Domain.real(2), layers=2, hidden=(8,))
    >>> reverse_kl(flow, distributions.Independent(Domain.real(2)), n=16).value.abs().item() < 1e-5
    True
    """
    if not beta >= 0.0:
        raise OptionError(f"reverse_kl: expected a non-negative beta; got {beta:g}.")
    if not 0.0 <= drop_largest < 1.0:
        raise OptionError(f"reverse_kl: expected drop_largest in [0, 1); got {drop_largest:g}.")
    if runs < 1 or n % runs:
        raise OptionError(f"reverse_kl: expected a number of runs that divides the {n} samples; got {runs}.")
    x, log_q = flow.sample(n, context, generator=generator)
    if path_gradient:
        log_q = path_log_prob(flow, x, context, "reverse_kl")
    log_p = target_log_prob(target, x, context)
    energy = -log_p if cap is None else cap(-log_p)
    terms = log_q + beta * energy
    keep = smallest(_above_medians(terms, runs) if runs > 1 else terms, drop_largest)
    value = torch.where(keep, terms, 0.0).sum() / keep.sum()
    log_weights = recorded(log_p - log_q)
    return Loss(value, _over_means(log_weights, runs) if runs > 1 else log_weights)


def _above_medians(terms: Tensor, runs: int) -> Tensor:
    """Terms (n,) minus the median of the finite terms of their run, detached; NaN for those that are not finite."""
    rows = torch.where(terms.isfinite(), terms, torch.nan).detach().view(runs, -1)
    return (rows - rows.nanmedian(1, keepdim=True).values).flatten()


def _over_means(log_weights: Tensor, runs: int) -> Tensor:
    """Log-weights (n,) minus the logarithm of the mean weight of their run; weights of zero remain zero."""
    rows = log_weights.view(runs, -1)
    return recorded(rows - rows.logsumexp(1, keepdim=True) + math.log(rows.shape[1])).flatten()


def log_dispersion(
    flow: Model,
    target: Target,
    samples: int | Tensor,
    *,
    order: int = 2,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Loss:
    """The dispersion of log-weights: zero if and only if q is proportional to p on the samples; independent of log Z.

    Order 2 is half the variance. On the flow's own samples its expected gradient is that of KL(q ‖ p), with a built-in
    control variate (Richter et al. 2020, arXiv 2010.10436). Order 1 is the mean absolute deviation from the median,
    which is robust to outliers. The samples are fixed: no gradient passes through them, and the gradient of the target
    is not needed. They may come from any density that covers p, such as a buffer or a simulation ("off-policy",
    arXiv 2602.03729), and the objective may be added to another one. Samples with a non-finite log-weight are left out.

    Args:
        flow: q.
        target: p.
        samples: the number of samples to draw from the flow, or states (n, *shape).
        order: 1 or 2.
        context: (n, C) for flow and target, or None.
        generator: the random number generator.

    Raises:
        OptionError: if the order is neither 1 nor 2, or there are fewer than two samples.

    >>> from boltzflow.core import Domain, distributions, recipes
    >>> flow = recipes.spline_flow(Domain.real(2), layers=2, hidden=(8,))
    >>> log_dispersion(flow, distributions.Independent(Domain.real(2)), 16).value.item() < 1e-9
    True
    """
    count = samples if isinstance(samples, int) else len(samples)
    if count < 2:
        raise OptionError(f"log_dispersion: expected at least 2 samples; got {count}.")
    with torch.no_grad():
        x = flow.sample(samples, context, generator=generator)[0] if isinstance(samples, int) else samples
        log_p = target.log_prob(x, context)
    log_weights = log_p - flow.log_prob(x, context)
    return Loss(dispersion(log_weights, order), recorded(log_weights))


def dispersion(log_weights: Tensor, order: int) -> Tensor:
    """The dispersion of log-weights (n,), see `log_dispersion`; non-finite ones are left out.

    Raises:
        OptionError: if the order is neither 1 nor 2.
    """
    if order not in (1, 2):
        raise OptionError(f"log_dispersion: expected order 1 or 2; got {order}.")
    keep = log_weights.isfinite()
    kept = torch.where(keep, log_weights, 0.0)
    if order == 1:
        middle = torch.where(keep, log_weights, torch.nan).detach().nanmedian()
        return torch.where(keep, (kept - middle).abs(), 0.0).sum() / keep.sum()
    deviation = torch.where(keep, kept - kept.sum() / keep.sum(), 0.0)
    return 0.5 * deviation.square().sum() / (keep.sum() - 1)
