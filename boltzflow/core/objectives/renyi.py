"""Objectives from powers of importance weights: Rényi divergences and the importance-weighted bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.objectives.loss import Loss, path_log_prob, recorded, target_log_prob
from boltzflow.core.protocols import Model, Target
from boltzflow.errors import OptionError


def alpha_divergence(
    flow: Model,
    target: Target,
    n: int,
    alpha: float = 2.0,
    *,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
    dreg: bool = True,
) -> Loss:
    """Rényi's divergence D_α(p ‖ q)/α from n samples of the flow: log E_q[w^α] / (α(α − 1)), w = p/q.

    The value is D_α/α + log Z/(α − 1), with the limits as special cases: α = 0 is KL(q ‖ p) up to log Z, which is
    mode-seeking; α = 1 is KL(p ‖ q), self-normalised and independent of log Z. A larger α enforces coverage of p more
    strongly and needs more samples: the bias of the logarithm of a mean is of order variance/n (Li & Turner 2016,
    arXiv 1602.02311). Samples that cannot be evaluated have weight zero.

    Args:
        flow: q.
        target: p.
        n: number of samples.
        alpha: any real number.
        context: (n, C) for flow and target, or None.
        generator: the random number generator.
        dreg: whether to use the doubly reparametrised gradient: the same mean and less noise, at the cost of one more
            pass (Tucker et al. 2018, arXiv 1810.04152).

    Raises:
        UnsupportedCombinationError: if `dreg` is requested with stochastic layers or dropout.

    >>> from boltzflow.core import Domain, distributions, recipes
    >>> flow = recipes.spline_flow(Domain.real(2), layers=2, hidden=(8,))
    >>> alpha_divergence(flow, distributions.Independent(Domain.real(2)), 16, alpha=1.0).value.abs().item() < 1e-5
    True
    """
    log_w, path, recorded_weights = _log_weights(flow, target, n, context, generator, dreg, "alpha_divergence")
    finite = log_w > -torch.inf
    terms = torch.where(finite, log_w, 0.0)
    if alpha == 0.0:
        share = finite / finite.sum()
        value, doubly = -(share * terms).sum(), -share
    elif alpha == 1.0:
        share = torch.softmax(log_w, 0)
        mean = (share * terms).sum()
        value = mean - torch.logsumexp(log_w, 0) + math.log(n)
        doubly = share.square() * (1.0 + 2.0 * (terms - mean)) - share
    else:
        powers = torch.where(finite, alpha * terms, -torch.inf)
        share = torch.softmax(powers, 0)
        value = (torch.logsumexp(powers, 0) - math.log(n)) / (alpha * (alpha - 1.0))
        doubly = alpha / (alpha - 1.0) * share.square() - share
    return Loss(_with_gradient(value, doubly, path), recorded_weights)


def importance_weighted_bound(
    flow: Model,
    target: Target,
    n: int,
    particles: int,
    *,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
    dreg: bool = True,
) -> Loss:
    """−E[log of the mean of k importance weights]: an upper bound of −log Z that becomes tighter with k.

    Burda et al. 2015, arXiv 1509.00519. One particle gives `reverse_kl`. With more particles the objective is less
    strict, because only the best sample of each group needs a large weight.

    Args:
        flow: q.
        target: p, up to its normalisation Z.
        n: number of groups.
        particles: the number k of samples in each group.
        context: (n, C) for flow and target, one for each group, or None.
        generator: the random number generator.
        dreg: whether to use the doubly reparametrised gradient: the same mean and less noise, at the cost of one more
            pass. The signal-to-noise ratio of the plain gradient decreases with k (Tucker et al. 2018, arXiv
            1810.04152).

    Returns:
        The loss, with the `log_weights` (n·k,) of all samples.

    Raises:
        OptionError: if there is no particle.
        UnsupportedCombinationError: if `dreg` is requested with stochastic layers or dropout.

    >>> from boltzflow.core import Domain, distributions, recipes
    >>> flow = recipes.spline_flow(Domain.real(2), layers=2, hidden=(8,))
    >>> loss = importance_weighted_bound(flow, distributions.Independent(Domain.real(2)), 16, particles=4)
    >>> loss.value.abs().item() < 1e-5
    True
    """
    if particles < 1:
        raise OptionError(f"importance_weighted_bound: expected at least 1 particle; got {particles}.")
    context = context if context is None else context.repeat_interleave(particles, 0)
    log_w, path, recorded_weights = _log_weights(
        flow, target, n * particles, context, generator, dreg, "importance_weighted_bound"
    )
    groups = log_w.view(n, particles)
    # A group whose weights are all zero has no finite bound, and is left out.
    alive = (groups > -torch.inf).any(1)
    groups = torch.where(alive[:, None], groups, 0.0)
    bounds = torch.logsumexp(groups, 1) - math.log(particles)
    value = -torch.where(alive, bounds, 0.0).sum() / alive.sum()
    share = torch.softmax(groups, 1) * alive[:, None]
    return Loss(_with_gradient(value, -share.square().flatten() / alive.sum(), path), recorded_weights)


def _log_weights(
    flow: Model,
    target: Target,
    n: int,
    context: Tensor | None,
    generator: torch.Generator | None,
    dreg: bool,
    where: str,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Log-weights (n,), −inf if not finite; for `dreg` the carrier of path derivatives (n,), else None; the record."""
    x, log_q = flow.sample(n, context, generator=generator)
    log_p = target_log_prob(target, x, context)
    log_w = log_p - log_q
    finite = log_w.isfinite()
    path = torch.where(finite, log_p - path_log_prob(flow, x, context, where), 0.0) if dreg else None
    return torch.where(finite, log_w, -torch.inf), path, recorded(log_w)


def _with_gradient(value: Tensor, doubly: Tensor, path: Tensor | None) -> Tensor:
    """The value, with the doubly reparametrised gradient Σ doubly·∂path if there is a path.

    For any function F of log-weights ℓ of reparametrised samples, E[dF/dθ] = E[Σ (∂F/∂ℓᵢ − ∂²F/∂ℓᵢ²) ∂ℓᵢ/∂xᵢ
    ∂xᵢ/∂θ]: integration by parts replaces the score terms −∂F/∂ℓᵢ ∂log q/∂θ by path terms.
    """
    if path is None:
        return value
    surrogate = (doubly.detach() * path).sum()
    return value.detach() + surrogate - surrogate.detach()
