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
    """Samples of the target, from proposals q accepted with probability p / (q · bound) (von Neumann 1951).

    The bound must hold everywhere: a proposal at which it does not hold ends the run, for the samples so far are then
    those of another density. Since log ∫p = log_bound + log acceptance, a high bound costs that many more proposals.

    Args:
        proposal: q, a distribution or flow with exact samples and density.
        target: p, anything with ``log_prob(x, context)``, up to a constant.
        log_bound: at least log p − log q everywhere.
        n: number of samples.
        context: (n, C), one row for each sample, or None.
        max_rounds: of about n proposals, after which the search is given up.
        generator: the random number generator.

    Returns:
        Samples (n, *shape), one for each row of the context, and the share of proposals that were accepted, NaN where
        none were made.

    Raises:
        OptionError: if log p − log q exceeds the bound at a proposal.
        NonFiniteError: if `max_rounds` did not suffice.

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
        # As many proposals for each sample that is still missing as make up about n.
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
    raise NonFiniteError(f"rejection_sampling: {proposed} proposals gave {accepted} samples of {n}; lower the bound.")


def _check_bound(log_odds: Tensor, log_q: Tensor, log_bound: float) -> None:
    """Raise where p exceeds the bound by more than rounding."""
    rounding = 16.0 * torch.finfo(log_odds.dtype).eps * (log_q.abs() + abs(log_bound) + 1.0)
    excess = torch.where(log_q.isfinite(), log_odds - rounding, -torch.inf).max().item()
    if excess > 0.0:
        raise OptionError(
            f"rejection_sampling: expected log p − log q ≤ {log_bound:g} everywhere; a proposal exceeds it by "
            f"{excess:.3g}."
        )
