"""Learned rejection sampling: a simple density multiplied by a learned acceptance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from boltzflow.core.distributions.distribution import Density, Distribution
from boltzflow.errors import OptionError, ShapeError


class Resampled(Distribution):
    """A proposal π resampled with a learned acceptance a(x): LARS (Bauer & Mnih 2019, arXiv 1810.11428).

    As the base of a flow it represents features that a bijection cannot: separate modes, holes, other topologies
    (Stimper et al. 2022, arXiv 2110.15828). Proposals are drawn until one is accepted; the T-th is always accepted. So

        p(x) = π(x)·[(1 − α)·a(x)/Z + α] with Z = ∫ π a and α = (1 − Z)^(T−1),

    and samples follow it exactly. Z has no closed form; `acceptance_rate` is an estimate. In training mode each call of
    `log_prob` or `sample` estimates it from `estimate_size` proposals, drawn from torch's global generator (as dropout
    masks are), and updates a moving average; gradients flow through the new estimate. In eval mode Z is constant, and
    log p has the error of log Z, which is the same for every x if α ≈ 0. It cancels in averages with normalised
    weights, but not in log Z of a target. Call `estimate_normalization` when the parameters are final, and add its
    error to that of any log Z computed with these weights.

    Gradients of samples do not include the dependence of the selection on parameters: learn the acceptance from
    `log_prob`, by maximum likelihood. Ignores `context`.

    Args:
        proposal: π.
        acceptance: states (batch, *shape) → logits of a (batch, 1); for states with circles apply
            `nets.DomainFeatures` first.
        truncation: T, at least 2.
        estimate_size: number of proposals for one estimate in training.
        decay: weight of the latest estimate in the moving average.

    Raises:
        OptionError: if the truncation is below 2, or the decay not in (0, 1].
        ShapeError: if the acceptance does not return one logit for each state.

    >>> from boltzflow.core import Domain, nets
    >>> from boltzflow.core.distributions import DiagonalNormal
    >>> base = Resampled(DiagonalNormal(Domain.real(2)), nets.MLP(2, (16,), 1)).eval()
    >>> log_z, error = base.estimate_normalization(10_000)
    >>> base.sample(5)[0].shape
    torch.Size([5, 2])
    """

    acceptance_rate: Tensor

    def __init__(
        self,
        proposal: Density,
        acceptance: nn.Module,
        *,
        truncation: int = 100,
        estimate_size: int = 1024,
        decay: float = 0.05,
    ) -> None:
        if truncation < 2:
            raise OptionError(f"Resampled: expected a truncation of at least 2; got {truncation}.")
        if not 0.0 < decay <= 1.0:
            raise OptionError(f"Resampled: expected a decay in (0, 1]; got {decay:g}.")
        super().__init__(proposal.domain)
        self.proposal = proposal
        self.acceptance = acceptance
        self.truncation, self.estimate_size, self.decay = truncation, estimate_size, decay
        with torch.no_grad():
            x, _ = proposal.sample(estimate_size)
            self.register_buffer("acceptance_rate", self._log_acceptance(x).exp().mean())

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, _ = self.proposal.sample(n, generator=generator)  # the T-th proposals, for samples that need them
        waiting = torch.arange(n, device=x.device)
        for _ in range(self.truncation - 1):
            if not len(waiting):
                break
            tried, _ = self.proposal.sample(len(waiting), generator=generator)
            chance = torch.rand(len(waiting), dtype=x.dtype, device=x.device, generator=generator)
            accepted = chance.log() < self._log_acceptance(tried).detach()
            x = x.index_copy(0, waiting[accepted], tried[accepted])
            waiting = waiting[~accepted]
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        rate = self._rate().clamp(max=1.0 - 1e-6)
        log_last = (self.truncation - 1) * torch.log1p(-rate)
        log_others = (-torch.expm1(log_last)).log() - rate.log()
        log_proposal = self.proposal.log_prob(x)
        inside = self.domain.contains(x) & (log_proposal > -torch.inf)
        # The acceptance is not evaluated where the proposal is zero: far outside, its net may return NaN.
        safe = torch.where(inside.view(-1, *[1] * (x.dim() - 1)), x, self.domain.middle(x))
        share = torch.logaddexp(log_others + self._log_acceptance(safe), log_last)
        return torch.where(inside, log_proposal + share, -torch.inf)

    @torch.no_grad()
    def estimate_normalization(self, n: int, *, generator: torch.Generator | None = None) -> tuple[float, float]:
        """Estimate Z from n proposals, store it, and return log Z and its standard error.

        The error is also that of log p of any state, to first order and if α ≈ 0.

        Raises:
            OptionError: if n is below 2.
        """
        if n < 2:
            raise OptionError(f"Resampled: expected at least 2 proposals to estimate Z from; got {n}.")
        parts = []
        for start in range(0, n, 1 << 16):
            x, _ = self.proposal.sample(min(1 << 16, n - start), generator=generator)
            parts.append(self._log_acceptance(x).double().exp())
        values = torch.cat(parts)
        rate = values.mean()
        self.acceptance_rate.copy_(rate)
        return rate.log().item(), (values.std() / rate / n**0.5).item()

    def _rate(self) -> Tensor:
        if not self.training:
            return self.acceptance_rate
        x, _ = self.proposal.sample(self.estimate_size)
        fresh = self._log_acceptance(x).exp().mean()
        with torch.no_grad():
            self.acceptance_rate.lerp_(fresh, self.decay)
        return self.acceptance_rate.clone() + (fresh - fresh.detach())

    def _log_acceptance(self, x: Tensor) -> Tensor:
        logits = self.acceptance(x)
        if tuple(logits.shape) != (x.shape[0], 1):
            raise ShapeError(
                f"Resampled: expected the acceptance to return ({x.shape[0]}, 1) logits; got {tuple(logits.shape)}."
            )
        return logsigmoid(logits[:, 0])
