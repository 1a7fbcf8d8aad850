"""The base class of Markov kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.kernels.trajectory import LogDensity
from boltzflow.core.nets import ContextParameter
from boltzflow.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Move:
    """The result of a kernel: the new states and their log-ratios.

    Attributes:
        x: (batch, *shape) after the steps.
        log_ratio: (batch,) log[P(undo)/P(do)] of the path taken: what a stochastic layer returns.
        log_weight: (batch,) log π(x) after − before + `log_ratio`. Zero for a kernel that leaves π invariant; for a
            kernel that does so only in the limit of small steps, minus the work of the discretisation.
        acceptance: (batch,) mean over the steps of min(1, e^−ΔH): the probability of acceptance. For a kernel without
            a Metropolis test, the probability that such a test would have. Detached.
        momentum: (batch, *shape) for the next call, or None for a kernel without momenta.
    """

    x: Tensor
    log_ratio: Tensor
    log_weight: Tensor
    acceptance: Tensor
    momentum: Tensor | None = None


class Kernel(nn.Module, ABC):
    """Markov steps for a density π on a domain; periodic on circles, reflected at the ends of intervals.

    Each coordinate has a step size, which is part of the state dict. It is learned (see the kernels for the meaning
    of its gradient) or adapted to an acceptance (`adapt_step_size`).

    Args:
        domain: the domain of the states.
        step_size: one positive number or one for each coordinate, shape `domain.shape`, in the domain's units.
        steps: number of steps in a call.
        trainable: whether the parameters are learned.
        context_size: size of a context that the parameters depend on; 0 for none.

    Raises:
        OptionError: if a step size is not positive and finite, or `steps` is not positive.
        ShapeError: if the step sizes do not fit the domain.
    """

    def __init__(
        self,
        domain: Domain,
        step_size: float | Tensor,
        steps: int = 1,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise OptionError(f"{type(self).__name__}: expected at least one step; got {steps}.")
        self.domain = domain
        self.steps = steps
        self.log_step_size = self._log_parameter("step_size", step_size, context_size).requires_grad_(trainable)

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        log_prob: LogDensity,
        context: Tensor | None = None,
        *,
        momentum: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Move:
        """Run steps from x.

        If no gradients are needed, call it under ``torch.no_grad()``; otherwise the whole path is stored.

        Args:
            x: (batch, *shape) inside the domain.
            log_prob: of π, (batch, *shape) → (batch,), up to a constant. Kernels that need its gradient use
                automatic differentiation.
            context: (batch, C) for step sizes that depend on it. It is not passed to `log_prob`.
            momentum: (batch, *shape) of the previous call, for kernels with partial refreshment; None for a new one.
            generator: the random number generator.
        """

    def step_size(self, like: Tensor, context: Tensor | None = None) -> Tensor:
        """Step sizes, (batch or 1, *shape), with dtype of `like`."""
        log_step_size: Tensor = self.log_step_size(context)
        return log_step_size.exp().to(like.dtype)

    def extra_repr(self) -> str:
        return f"{self.domain}, steps={self.steps}"

    def _log_parameter(self, name: str, value: float | Tensor, context_size: int) -> ContextParameter:
        """The logarithm of positive numbers, one for each coordinate."""
        given = torch.as_tensor(value, dtype=torch.get_default_dtype())
        if given.dim() and given.shape != self.domain.shape:
            raise ShapeError(
                f"{type(self).__name__}: expected {name} of shape {self.domain.shape}; got {tuple(given.shape)}."
            )
        if not bool((given.isfinite() & (given > 0.0)).all()):
            raise OptionError(f"{type(self).__name__}: expected a positive, finite {name}; got {given.tolist()}.")
        return ContextParameter(given.log().expand(self.domain.shape), context_size)


def normal_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise with the shape, dtype and device of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def metropolis_test(log_odds: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Whether each proposal is accepted, (batch,) bool, and min(1, odds) (batch,), detached; NaN is rejected.

    `log_odds` (batch,) is the logarithm of the Metropolis–Hastings ratio.
    """
    log_odds = log_odds.detach()
    uniform = torch.rand(log_odds.shape, dtype=log_odds.dtype, device=log_odds.device, generator=generator)
    probability = torch.where(log_odds.isnan(), 0.0, log_odds.clamp(max=0.0).exp())
    return uniform < probability, probability
