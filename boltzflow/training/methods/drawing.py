"""Samples of a model with everything needed for weights at any temperature, and fits to weighted samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from boltzflow.core.objectives import dispersion
from boltzflow.generator import BoltzmannGenerator
from boltzflow.training.methods.method import Memory, StepInfo
from boltzflow.training.trainable import Trainable

_AT_ONCE = 4096  # frames


class Drawn(NamedTuple):
    """Samples of a flow (n, D), and (n,) each: log q of z, log|det ∂x/∂z|, and U/kT at a temperature in K."""

    z: Tensor
    log_q: Tensor
    log_volume: Tensor
    reduced_energy: Tensor
    at_temperature: float

    def log_target(self, temperature: float) -> Tensor:
        """Unnormalised log-density of the Boltzmann distribution in z (n,); −inf if it cannot be evaluated."""
        value = self.log_volume - self.reduced_energy * (self.at_temperature / temperature)
        return torch.where(value.isfinite() & self.log_q.isfinite(), value, -torch.inf)

    def log_weights(self, temperature: float) -> Tensor:
        """log p − log q (n,)."""
        return torch.where(self.log_q.isfinite(), self.log_target(temperature) - self.log_q, -torch.inf)


@torch.no_grad()
def draw(model: Trainable, n: int, batch_size: int, random: torch.Generator) -> Drawn:
    """n samples with one energy evaluation each, in batches of equal size, for which code may have been compiled."""
    parts: list[tuple[Tensor, ...]] = []
    for _ in range(0, n, batch_size):
        z, log_q = model.flow.sample(batch_size, generator=random)
        parts.append((z, log_q, *model.evaluate(z)))
    z, log_q, log_volume, energy = (torch.cat(column)[:n] for column in zip(*parts, strict=True))
    return Drawn(z, log_q, log_volume, energy, model.temperature)


@torch.no_grad()
def internals_of(generator: BoltzmannGenerator, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Internal coordinates z (n, D) of frames (n, N, 3), log|det ∂z/∂x| (n,), and whether each is in the domain.

    Equivalent atoms are first relabelled as in the domain.
    """
    coordinates = generator.coordinates
    parts = [coordinates.inverse(generator.fold(part)) for part in torch.split(positions, _AT_ONCE)]
    z, log_ratio = (torch.cat(part) for part in zip(*parts, strict=True))
    return coordinates.domain.wrap(z), log_ratio, coordinates.domain.contains(z) & log_ratio.isfinite()


def in_whole_batches(n: int, batch_size: int) -> int:
    """The number of samples that `draw` evaluates for n."""
    return -(-n // batch_size) * batch_size


def fit(model: Trainable, z: Tensor, log_target: Tensor, weight: float = 0.0, order: int = 1) -> Tensor:
    """−mean log q of samples of the target (batch, D), plus `weight` times the dispersion of log_target − log q.

    This is log-dispersion regularisation of maximum likelihood (Schopmans et al. 2026, arXiv 2602.03729). It uses the
    known energies of the samples in addition to their positions.
    """
    log_q = model.flow.log_prob(z)
    value = fit_weighted(log_q)
    return value + weight * dispersion(log_target - log_q, order) if weight else value


def fit_to_memory(model: Trainable, info: StepInfo, memory: Memory, weight: float, order: int) -> Tensor:
    """`fit` to a batch drawn from a buffer: `z` (n, D), its `weights` (n,) and its `log_target` (n,)."""
    chosen = torch.multinomial(memory["weights"], info.batch_size, replacement=True, generator=info.random)
    return fit(model, memory["z"][chosen], memory["log_target"][chosen], weight, order)


def fit_weighted(log_q: Tensor, weights: Tensor | None = None) -> Tensor:
    """−mean of weights · log q (batch,); samples outside the flow's domain are left out."""
    terms = torch.where(log_q.isfinite(), log_q if weights is None else weights * log_q, 0.0)
    return -terms.mean()
