"""Layers that move samples at random, for stochastic normalizing flows (Wu et al. 2020, arXiv 2002.06707)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.layer import StochasticLayer
from boltzflow.core.sampling import random_walk


class MetropolisLayer(StochasticLayer):
    """Random-walk Metropolis steps with respect to an intermediate density.

    Detailed balance makes log[P(undo)/P(do)] = log p(before) − log p(after). Takes no notice of `context`.

    Args:
        domain: flat, of D coordinates.
        log_prob: the intermediate density, (batch, D) → (batch,), up to a constant.
        step_size: standard deviation of a proposal, one number or (D,), in the domain's units.
        steps: Metropolis steps in one pass.

    >>> layer = MetropolisLayer(Domain.real(1), lambda x: -0.5 * x.square().sum(1), step_size=0.5, steps=3)
    >>> x, log_ratio = layer(torch.zeros(10, 1))
    """

    def __init__(
        self, domain: Domain, log_prob: Callable[[Tensor], Tensor], step_size: float | Tensor, steps: int = 10
    ) -> None:
        super().__init__(domain, domain)
        self.log_prob = log_prob
        self.steps = steps
        self.register_buffer("step_size", torch.as_tensor(step_size))

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, gain, _ = random_walk(
            z, self.log_prob, self.data_domain, self.get_buffer("step_size"), self.steps, generator=generator
        )
        return x, -gain

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.forward(x, context, generator=generator)
