"""Objectives of training: plain functions of a flow and a target, without side effects.

A target is anything with ``log_prob(x, context) → (batch,)``, known up to a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from boltzflow.core.flow import Flow
from boltzflow.errors import OptionError, ShapeError


class Target(Protocol):
    """An unnormalised density."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,), up to a constant."""
        ...


@dataclass(frozen=True)
class Loss:
    """The value to minimise, and what the samples behind it tell.

    Attributes:
        value: scalar, differentiable.
        log_weights: (n,) detached log p − log q of the samples, uncapped; −inf for a sample that cannot be
            evaluated, never NaN.
    """

    value: Tensor
    log_weights: Tensor


@dataclass(frozen=True)
class EnergyCap:
    """Tames reduced energies for training: linear up to `linear_until`, logarithmic above, slope 1 where they meet.

    Its slope is never zero, so that a clash is still pushed apart. For objectives only: weights never see it.

    >>> EnergyCap(10.0)(torch.tensor([5.0, 11.0]))
    tensor([ 5.0000, 10.6931])
    """

    linear_until: float

    def __call__(self, energy: Tensor) -> Tensor:
        excess = (energy - self.linear_until).clamp(min=0.0)
        return torch.where(excess > 0.0, self.linear_until + excess.log1p(), energy)


def reverse_kl(
    flow: Flow,
    target: Target,
    n: int,
    *,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
    path_gradient: bool = False,
    cap: Callable[[Tensor], Tensor] | None = None,
    drop_largest: float = 0.0,
) -> Loss:
    """KL(q ‖ p) up to log Z, from n samples of the flow: E_q[log q − log p].

    Noé et al. 2019, DOI 10.1126/science.aaw1147. Samples whose term is not finite are left out.

    Args:
        flow: q.
        target: p.
        n: number of samples.
        context: (n, C) for flow and target, or None.
        generator: the source of randomness.
        path_gradient: drop the score term, whose mean is zero, from the gradient: less noise when q is close
            to p, at the cost of one more pass (Roeder et al. 2017, arXiv 1703.09194; Vaitl et al. 2022,
            arXiv 2206.09016).
        cap: tames −log p for the gradient (see `EnergyCap`).
        drop_largest: the share of largest terms that is left out of the mean: robust against clashes, at the
            cost of a small bias of the objective (never of the weights).

    Raises:
        OptionError: if `drop_largest` is not in [0, 1), or a path gradient is asked for through stochastic
            layers.
    """
    if not 0.0 <= drop_largest < 1.0:
        raise OptionError(f"reverse_kl: expected drop_largest in [0, 1); got {drop_largest:g}.")
    x, log_q = flow.sample(n, context, generator=generator)
    if path_gradient:
        if flow.transform.stochastic_layers:
            raise OptionError("reverse_kl: expected no stochastic layer for a path gradient, which needs log q(x).")
        frozen = {name: tensor.detach() for name, tensor in flow.named_parameters()}
        log_q = torch.func.functional_call(_LogProb(flow), {f"flow.{k}": v for k, v in frozen.items()}, (x, context))
    log_p = target.log_prob(x, context)
    log_weights = (log_p - log_q).detach()
    energy = -log_p if cap is None else cap(-log_p)
    terms = log_q + energy
    finite = terms.isfinite()
    keep = finite
    if drop_largest > 0.0:
        ranked = torch.where(finite, terms, torch.inf).detach()
        keep = finite & (ranked <= ranked.kthvalue(max(1, round(n * (1.0 - drop_largest)))).values)
    value = torch.where(keep, terms, 0.0).sum() / keep.sum()
    return Loss(value, torch.where(log_weights.isfinite(), log_weights, -torch.inf))


def forward_kl(flow: Flow, x: Tensor, *, weights: Tensor | None = None, context: Tensor | None = None) -> Loss:
    """KL(p ‖ q) up to the entropy of p, from samples of p: −Σ w log q(x), with weights that add up to 1.

    Without weights this is maximum likelihood.

    Args:
        flow: q.
        x: (batch, *shape) samples of p, or of another density with weights p over it.
        weights: (batch,) not negative, normalised here; None for equal weights.
        context: (batch, C) or None.

    Returns:
        The loss; its `log_weights` are −log q of the samples, for p is not known here.

    Raises:
        ShapeError: if there is not one weight for each sample.
        OptionError: if a weight is negative or none is positive.
    """
    log_q = flow.log_prob(x, context)
    if weights is None:
        return Loss(-log_q.mean(), -log_q.detach())
    if weights.shape != log_q.shape:
        raise ShapeError(f"forward_kl: expected weights of shape {tuple(log_q.shape)}; got {tuple(weights.shape)}.")
    if bool((weights < 0.0).any()) or not bool(weights.sum() > 0.0):
        raise OptionError("forward_kl: expected weights that are not negative, with a positive sum.")
    # A weight of zero asks for nothing, also where log q is −inf.
    terms = torch.where(weights > 0.0, weights * log_q, 0.0)
    return Loss(-terms.sum() / weights.sum(), -log_q.detach())


class _LogProb(torch.nn.Module):
    """`Flow.log_prob` as a call, for `torch.func.functional_call`."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.log_prob(x, context)
