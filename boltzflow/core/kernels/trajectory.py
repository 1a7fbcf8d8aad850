"""Motion inside a domain, and densities evaluated so that a failed state has density zero instead of NaN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.domain import Domain

LogDensity = Callable[[Tensor], Tensor]
"""States (batch, *shape) → log-densities (batch,), up to a constant."""


def drift(domain: Domain, x: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor | float]:
    """Free flight: around circles, thrown back at the ends of intervals as often as it takes.

    Each coordinate flies by itself, so the map keeps volumes, and flying back from the end with the momentum turned
    round returns to the start.

    Args:
        domain: where x lives.
        x: (batch, *shape) inside.
        displacement: (batch, *shape), any size.

    Returns:
        The end (batch, *shape) inside, and the sign of each coordinate's momentum there: −1 after an odd number of
        reflections.
    """
    x = domain.wrap(x + displacement)
    intervals = domain.indices("interval")
    if not intervals:
        return x, 1.0
    index = torch.tensor(intervals, device=x.device)
    low, high = (bounds[index] for bounds in (domain.lows(x), domain.highs(x)))
    part = x.index_select(-1, index)
    crossings = ((part - low) / (high - low)).floor()
    odd = crossings.remainder(2.0)
    part = part - (high - low) * crossings
    part = torch.where(odd == 1.0, low + (high - part), part).clamp(low, high)
    return x.index_copy(-1, index, part), torch.ones_like(x).index_copy(-1, index, 1.0 - 2.0 * odd)


def safe_log_prob(log_prob: LogDensity, domain: Domain, x: Tensor) -> Tensor:
    """log_prob (batch,) of x (batch, *shape): −∞ where x is outside or the value is not finite."""
    inside, safe = _stand_in(domain, x)
    value = log_prob(safe)
    return torch.where(inside & value.isfinite(), value, -torch.inf)


def log_prob_and_score(
    log_prob: LogDensity, domain: Domain, x: Tensor, max_score: float | None = None
) -> tuple[Tensor, Tensor]:
    """log_prob (batch,) as `safe_log_prob` gives it, and its gradient (batch, *shape).

    The gradient is zero where it is not finite, and cut to ± `max_score`: it stays a function of x alone, which is
    all that kernels ask of it. Differentiable again where gradients are enabled.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        inside, safe = _stand_in(domain, x)
        if not (differentiable and safe.requires_grad):
            safe = safe.detach().requires_grad_()
        value = log_prob(safe)
        if value.requires_grad:
            (score,) = torch.autograd.grad(
                value.sum(), safe, create_graph=differentiable, allow_unused=True, materialize_grads=True
            )
        else:
            score = torch.zeros_like(safe)
        value = torch.where(inside & value.isfinite(), value, -torch.inf)
        score = torch.where(rows(value.isfinite(), x) & score.isfinite(), score, 0.0)
        if max_score is not None:
            score = score.clamp(-max_score, max_score)
    return (value, score) if differentiable else (value.detach(), score.detach())


def rows(mask: Tensor, like: Tensor) -> Tensor:
    """A mask (batch,) in a shape that broadcasts against states (batch, *shape)."""
    return mask.view(-1, *[1] * (like.dim() - 1))


def _stand_in(domain: Domain, x: Tensor) -> tuple[Tensor, Tensor]:
    """Which states are inside, and states to evaluate: the others replaced by the middle of the domain.

    The gradient of a state that cannot be evaluated is zero: 0 · NaN of a rejected proposal would else spoil those
    of all others.
    """
    inside = domain.contains(x)
    safe = torch.where(rows(inside, x), x, domain.middle(x))
    if safe.requires_grad:
        safe.register_hook(lambda g: torch.where(g.isfinite(), g, 0.0))  # type: ignore[no-untyped-call]
    return inside, safe
