"""Motion inside a domain, and safe evaluation of densities: a failed state has density zero instead of NaN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.domain import Domain

LogDensity = Callable[[Tensor], Tensor]
"""States (batch, *shape) → log-densities (batch,), up to a constant."""


def drift(domain: Domain, x: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor | float]:
    """Free motion: periodic on circles, reflected at the ends of intervals as often as necessary.

    Coordinates move independently, so the map preserves volume, and motion with reversed momentum returns to the
    initial state.

    Args:
        domain: the domain of x.
        x: (batch, *shape) inside.
        displacement: (batch, *shape), any size.

    Returns:
        The final state (batch, *shape) inside the domain, and the sign of each coordinate's momentum: −1 after an odd
        number of reflections.
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
    """log_prob (batch,) as from `safe_log_prob`, and its gradient (batch, *shape).

    A non-finite gradient is set to zero, and the gradient is clipped to ± `max_score`. It remains a function of x only,
    as kernels require. Differentiable if gradients are enabled.
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
    """Whether states are inside, and the states with those outside replaced by the middle of the domain.

    This gives states that cannot be evaluated a zero gradient. Otherwise 0 · NaN of a rejected proposal would make the
    gradients of all others NaN.
    """
    inside = domain.contains(x)
    safe = torch.where(rows(inside, x), x, domain.middle(x))
    if safe.requires_grad:
        safe.register_hook(lambda g: torch.where(g.isfinite(), g, 0.0))  # type: ignore[no-untyped-call]
    return inside, safe
