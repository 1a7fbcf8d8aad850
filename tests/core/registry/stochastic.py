"""Markov kernels, and the layers made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.core import Domain, layers
from boltzflow.core.distributions import Distribution
from boltzflow.core.kernels import HamiltonianMonteCarlo, Kernel, Langevin, RandomWalk, UnderdampedLangevin

DOMAIN = Domain.real(1, names=["x"]) + Domain.circle(1, names=["phi"]) + Domain.interval(0.0, 1.0, names=["bond"])
STEP = torch.tensor([0.5, 0.6, 0.15])
MASS = torch.tensor([4.0, 0.5, 2.0])

KERNELS: dict[str, Callable[[], Kernel]] = {
    "random walk": lambda: RandomWalk(DOMAIN, STEP, steps=5),
    "random walk, steps as wide as the domain": lambda: RandomWalk(DOMAIN, torch.tensor([1.0, 5.0, 2.0]), steps=3),
    "HMC": lambda: HamiltonianMonteCarlo(DOMAIN, 0.1, leapfrog_steps=4),
    "HMC, mass, several trajectories": lambda: HamiltonianMonteCarlo(DOMAIN, STEP, 3, leapfrog_steps=3, mass=MASS),
    "HMC, momentum kept": lambda: HamiltonianMonteCarlo(DOMAIN, STEP, 6, leapfrog_steps=2, mass=MASS, refresh=0.3),
    "HMC, score cut": lambda: HamiltonianMonteCarlo(DOMAIN, STEP, 2, leapfrog_steps=3, max_score=0.5),
    "MALA": lambda: Langevin(DOMAIN, STEP, steps=5),
    "MALA, steps as wide as the domain": lambda: Langevin(DOMAIN, torch.tensor([0.5, 3.0, 1.0]), steps=3),
    "underdamped Langevin": lambda: UnderdampedLangevin(DOMAIN, STEP, steps=8, friction=1.5, mass=MASS),
}
"""Kernels that leave every density invariant."""


class Coupled(Distribution):
    """x normal, φ von Mises about x, and a bond whose exponential density depends on φ and is steep at both ends."""

    def __init__(self) -> None:
        super().__init__(DOMAIN)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x = torch.randn(n, dtype=torch.float64, generator=generator)
        around = torch.linspace(-math.pi, math.pi, 200_001, dtype=torch.float64)
        cumulative = torch.cumulative_trapezoid(around.cos().exp(), around)
        share = torch.rand(n, dtype=torch.float64, generator=generator) * cumulative[-1]
        phi = x + around[1:][torch.searchsorted(cumulative, share).clamp(max=len(cumulative) - 1)]
        slope = 3.0 + 2.0 * phi.cos()
        bond = torch.log1p(torch.rand(n, dtype=torch.float64, generator=generator) * slope.expm1()) / slope
        state = DOMAIN.wrap(torch.stack([x, phi, bond.clamp(0.0, 1.0)], 1))
        return state, self.log_prob(state)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        normal = -0.5 * x[:, 0].square() - 0.5 * math.log(2.0 * math.pi)
        von_mises = (x[:, 1] - x[:, 0]).cos() - math.log(2.0 * math.pi * 1.2660658777520084)
        slope = 3.0 + 2.0 * x[:, 1].cos()
        exponential = slope * x[:, 2] - (slope.expm1() / slope).log()
        return torch.where(self.domain.contains(x), normal + von_mises + exponential, -torch.inf)


@dataclass(frozen=True)
class StochasticCase:
    """How to make a stochastic layer on `DOMAIN`, and the size of the context that it takes."""

    make: Callable[[], layers.KernelLayer]
    context_size: int = 0


STOCHASTIC: dict[str, StochasticCase] = {
    "Metropolis": StochasticCase(lambda: layers.KernelLayer(RandomWalk(DOMAIN, STEP, 4, trainable=True), 0.5)),
    "Metropolis, context": StochasticCase(
        lambda: layers.KernelLayer(RandomWalk(DOMAIN, STEP, 4, trainable=True, context_size=2), 0.5), 2
    ),
    "Hamiltonian": StochasticCase(
        lambda: layers.KernelLayer(
            HamiltonianMonteCarlo(DOMAIN, STEP, 2, leapfrog_steps=2, mass=MASS, trainable=True), 0.7
        )
    ),
    "Hamiltonian, context": StochasticCase(
        lambda: layers.KernelLayer(
            HamiltonianMonteCarlo(DOMAIN, STEP, 2, mass=MASS, trainable=True, context_size=2), 0.7
        ),
        2,
    ),
    "Langevin": StochasticCase(
        lambda: layers.KernelLayer(Langevin(DOMAIN, 0.5 * STEP, 4, adjusted=False, trainable=True), 0.5)
    ),
    "Langevin, adjusted": StochasticCase(
        lambda: layers.KernelLayer(Langevin(DOMAIN, STEP, 4, adjusted=True, trainable=True), 0.5)
    ),
    "Langevin, context": StochasticCase(
        lambda: layers.KernelLayer(
            Langevin(DOMAIN, 0.5 * STEP, 4, adjusted=False, trainable=True, context_size=2), 0.5
        ),
        2,
    ),
    "underdamped Langevin": StochasticCase(
        lambda: layers.KernelLayer(
            UnderdampedLangevin(DOMAIN, 0.5 * STEP, 4, mass=MASS, adjusted=False, trainable=True), 0.5
        )
    ),
    "underdamped Langevin, adjusted": StochasticCase(
        lambda: layers.KernelLayer(UnderdampedLangevin(DOMAIN, STEP, 4, mass=MASS, adjusted=True, trainable=True), 0.5)
    ),
    "underdamped Langevin, context": StochasticCase(
        lambda: layers.KernelLayer(
            UnderdampedLangevin(DOMAIN, 0.5 * STEP, 4, mass=MASS, adjusted=False, trainable=True, context_size=2), 0.5
        ),
        2,
    ),
}
"""Layers with exact path weights, whatever their parameters."""
