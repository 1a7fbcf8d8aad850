"""Exact, independent samples by rejection."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.protocols import Proposal, Target
from boltzflow.errors import NonFiniteError, OptionError


@torch.no_grad()
def rejection_sampling(
    proposal: Proposal,
    target: Target,
    log_bound: float,
    n: int,
    *,
    context: Tensor | None = None,
    max_rounds: int = 10_000,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float]:
    """Sample the target with proposals from q, accepted with probability p / (q · bound) (von Neumann 1951).

    The bound must hold everywhere. If a proposal violates it, an error is raised, because the samples so far would
    follow a different density. Since log ∫p = log_bound + log acceptance, the cost is proportional to the bound.

    Args:
        proposal: q, a distribution or flow with exact samples and density.
        target: p, any object with ``log_prob(x, context)``, unnormalised.
        log_bound: at least log p − log q everywhere.
        n: number of samples.
        context: (n, C), one row for each sample, or None.
        max_rounds: the maximum number of rounds, each of about n proposals.
        generator: the random number generator.

    Returns:
        Samples (n, *shape), one for each row of the context, and the fraction of accepted proposals; NaN if there were
        no proposals.

    Raises:
        OptionError: if log p − log q exceeds the bound at a proposal.
        NonFiniteError: if `max_rounds` rounds do not give n samples.

    >>> from boltzflow.core import Domain, distributions
    >>> domain = Domain.real(1)
    >>> wide, narrow = (distributions.Independent(domain, width=torch.tensor([w])) for w in (2.0, 1.0))
    >>> x, acceptance = rejection_sampling(wide, narrow, log_bound=0.7, n=10_000)
    >>> bool(0.45 < acceptance < 0.55)
    True
    """
    if n == 0:
        return proposal.sample(0, context, generator=generator)[0], math.nan
    missing: Tensor | None = None
    x: Tensor | None = None
    proposed = accepted = 0
    for _ in range(max_rounds):
        # About n proposals in total, the same number for each missing sample.
        count = n if missing is None else len(missing)
        tries = max(1, n // count)
        wanted = None if context is None else (context if missing is None else context[missing])
        repeated = None if wanted is None else wanted.repeat_interleave(tries, 0)
        candidate, log_q = proposal.sample(count * tries, repeated, generator=generator)
        log_odds = target.log_prob(candidate, repeated) - log_q - log_bound
        _check_bound(log_odds, log_q, log_bound)
        uniform = torch.rand(log_odds.shape, dtype=log_odds.dtype, device=log_odds.device, generator=generator)
        accept = (uniform.log() < log_odds).view(count, tries)
        proposed, accepted = proposed + accept.numel(), accepted + int(accept.sum())
        found = accept.any(1)
        first = torch.arange(count, device=accept.device) * tries + accept.int().argmax(1)
        if x is None or missing is None:
            x, missing = torch.zeros_like(candidate), torch.arange(n, device=candidate.device)
        x[missing[found]] = candidate[first[found]]
        missing = missing[~found]
        if len(missing) == 0:
            return x, accepted / proposed
    raise NonFiniteError(
        f"rejection_sampling: expected {n} samples; got {accepted} from {proposed} proposals: lower the bound."
    )


def _check_bound(log_odds: Tensor, log_q: Tensor, log_bound: float) -> None:
    """Raise an OptionError if p exceeds the bound by more than rounding."""
    rounding = 16.0 * torch.finfo(log_odds.dtype).eps * (log_q.abs() + abs(log_bound) + 1.0)
    excess = torch.where(log_q.isfinite(), log_odds - rounding, -torch.inf).max().item()
    if excess > 0.0:
        raise OptionError(
            f"rejection_sampling: expected log p − log q ≤ {log_bound:g} everywhere; a proposal exceeds it by "
            f"{excess:.3g}."
        )
