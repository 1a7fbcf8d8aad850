"""Small systems whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import openmm
import pytest
import torch
from torch import Tensor

import boltzflow as bf
from boltzflow.energies import Potential
from boltzflow.molecules import available_systems
from boltzflow.units import GAS_CONSTANT


class Springs(Potential):
    """½ k x² in each of the three directions of each particle. stiffness: (N,) kJ/(mol nm²)."""

    def __init__(self, stiffness: list[float]) -> None:
        super().__init__(len(stiffness))
        self.stiffness = torch.tensor(stiffness, dtype=torch.float64)

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        k = self.stiffness.to(positions)[:, None]
        return 0.5 * (k * positions.square()).sum((1, 2)), -k * positions


class DoubleWell(Potential):
    """a (x² − b²)² + c x in the first coordinate, ½ k y², ½ k z² in the others, of one particle; nm, kJ/mol."""

    def __init__(self, a: float = 4e4, b: float = 0.15, c: float = 6.0, k: float = 500.0) -> None:
        super().__init__(1)
        self.a, self.b, self.c, self.k = a, b, c, k

    def along(self, x: Tensor) -> Tensor:
        return self.a * (x.square() - self.b**2).square() + self.c * x

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        x, rest = positions[..., 0], positions[..., 1:]
        energy = self.along(x).sum(1) + 0.5 * self.k * rest.square().sum((1, 2))
        slope = 4 * self.a * x * (x.square() - self.b**2) + self.c
        return energy, -torch.cat([slope[..., None], self.k * rest], -1)

    def share_left(self, temperature: float, shift: Callable[[Tensor], Tensor] | None = None) -> float:
        """The exact share of x < 0, by quadrature."""
        x = torch.linspace(-0.5, 0.5, 200_001, dtype=torch.float64)
        energy = self.along(x) + (0.0 if shift is None else shift(x))
        weight = (-energy / (GAS_CONSTANT * temperature)).softmax(0)
        return float(weight[x < 0].sum())


def z_score(values: Tensor, expected: float) -> float:
    """Of the mean of independent values."""
    return float((values.mean() - expected) / (values.std() / math.sqrt(len(values))))


def dipeptide(constraints: str = "none", forcefield: tuple[str, ...] = ("amber96.xml",)) -> bf.MolecularSystem:
    """ACE-ALA-NME, in vacuum if not said otherwise."""
    pdb = available_systems()["alanine_dipeptide"] / "topology.pdb"
    return bf.MolecularSystem.from_pdb(pdb, forcefield, constraints=constraints)  # type: ignore[arg-type]


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def with_constraints(masses: list[float], pairs: list[tuple[int, int]], lengths: list[float]) -> openmm.System:
    system = openmm.System()
    for mass in masses:
        system.addParticle(mass)
    for (i, j), length in zip(pairs, lengths, strict=True):
        system.addConstraint(i, j, length)
    return system
