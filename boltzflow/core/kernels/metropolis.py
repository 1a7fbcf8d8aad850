"""Random-walk Metropolis on mixed domains."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.kernels.kernel import Kernel, Move, metropolis_test, normal_noise
from boltzflow.core.kernels.trajectory import LogDensity, drift, rows, safe_log_prob


class RandomWalk(Kernel):
    """Normal proposals with the Metropolis acceptance rule (Metropolis et al. 1953, DOI 10.1063/1.1699114).

    It does not use the gradient of the density. Gradients of `x` and of the log-ratio follow the accepted proposals.
    They omit that the decisions depend on parameters, as in Wu et al. (2020, arXiv 2002.06707), and are biased: adapt
    step sizes to an acceptance instead of learning them. Each step evaluates the density once.

    Args and Raises: those of `Kernel`; a step size is the standard deviation of a proposal.

    >>> from boltzflow.core import Domain
    >>> kernel = RandomWalk(Domain.real(1), step_size=2.0, steps=20)
    >>> move = kernel(torch.zeros(5, 1), lambda x: -0.5 * x.square().sum(1))
    >>> move.x.shape, move.acceptance.shape
    (torch.Size([5, 1]), torch.Size([5]))
    """

    def forward(
        self,
        x: Tensor,
        log_prob: LogDensity,
        context: Tensor | None = None,
        *,
        momentum: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Move:
        step_size = self.step_size(x, context)
        now = safe_log_prob(log_prob, self.domain, x)
        log_ratio, acceptance = torch.zeros_like(now), torch.zeros_like(now)
        for _ in range(self.steps):
            # A reflected or wrapped normal step is as likely as its reverse.
            proposal, _ = drift(self.domain, x, step_size * normal_noise(x, generator))
            there = safe_log_prob(log_prob, self.domain, proposal)
            accept, probability = metropolis_test(there - now, generator)
            x = torch.where(rows(accept, x), proposal, x)
            log_ratio = log_ratio + torch.where(accept, now - there, 0.0)
            now = torch.where(accept, there, now)
            acceptance = acceptance + probability / self.steps
        return Move(x, log_ratio, torch.zeros_like(log_ratio), acceptance)
