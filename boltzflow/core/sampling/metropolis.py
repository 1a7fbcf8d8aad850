"""Random-walk Metropolis on mixed domains (Metropolis et al. 1953, DOI 10.1063/1.1699114)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.domain import Domain


def random_walk(
    x: Tensor,
    log_prob: Callable[[Tensor], Tensor],
    domain: Domain,
    step_size: float | Tensor,
    steps: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps that leave `log_prob` invariant: normal proposals, wrapped on circles, rejected outside intervals.

    Args:
        x: (batch, D) inside the domain.
        log_prob: (batch, D) → (batch,), up to a constant.
        domain: flat, of D coordinates.
        step_size: standard deviation of a proposal, one number or (D,), in the domain's units.
        steps: how many.
        generator: the source of randomness.

    Returns:
        x after the steps (batch, D); log_prob after minus before (batch,); mean acceptance (batch,).
    """
    start = now = log_prob(x)
    accepted = torch.zeros_like(now)
    for _ in range(steps):
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        proposal = domain.wrap(x + step_size * noise)
        inside = domain.contains(proposal)
        there = torch.where(inside, log_prob(torch.where(inside[:, None], proposal, x)), -torch.inf)
        uniform = torch.rand(now.shape, dtype=x.dtype, device=x.device, generator=generator)
        accept = uniform.log() < there - now
        x = torch.where(accept[:, None], proposal, x)
        now = torch.where(accept, there, now)
        accepted = accepted + accept
    return x, now - start, accepted / steps
