"""Boltzmann targets: temperature, pull-back."""

from __future__ import annotations

import openmm
import openmm.unit as u
import pytest
import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.energies import BoltzmannTarget, TorchPotential, pullback
from boltzflow.errors import OptionError, ShapeError
from boltzflow.units import thermal_energy

from .conftest import Array


class Flattened(Bijection):
    """Positions from a flat vector, scaled by 0.5."""

    def __init__(self, n_atoms: int) -> None:
        super().__init__(Domain.real(3 * n_atoms), Domain.real((n_atoms, 3)))
        self.n_atoms = n_atoms

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_ratio = z.new_full((len(z),), 3 * self.n_atoms * torch.tensor(0.5).log().item())
        return 0.5 * z.view(-1, self.n_atoms, 3), log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@pytest.fixture
def potential(vacuum: openmm.System) -> TorchPotential:
    return TorchPotential(vacuum, compile=False)


def test_log_prob_is_minus_the_reduced_energy(potential: TorchPotential, thermal: Array) -> None:
    x = torch.tensor(thermal[:6])
    target = BoltzmannTarget(potential, 450.0 * u.kelvin)
    assert target.temperature == 450.0
    torch.testing.assert_close(target.log_prob(x), -potential.energy(x) / thermal_energy(450.0))
    assert target.domain == Domain.real((22, 3))


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_temperature_of_each_sample(potential: TorchPotential, thermal: Array, shape: tuple[int, ...]) -> None:
    x = torch.tensor(thermal[:3])
    temperatures = torch.tensor([300.0, 600.0, 1200.0])
    log_prob = BoltzmannTarget(potential, 300.0).log_prob(x, temperatures.view(shape))
    expected = [-potential.energy(x)[i] / thermal_energy(t.item()) for i, t in enumerate(temperatures)]
    torch.testing.assert_close(log_prob, torch.stack(expected))


@pytest.mark.parametrize("shape", [(2,), (1, 3), (3, 2), (3, 1, 1)])
def test_refuses_other_contexts(potential: TorchPotential, thermal: Array, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="one temperature per sample"):
        BoltzmannTarget(potential, 300.0).log_prob(torch.tensor(thermal[:3]), torch.ones(shape))


def test_sibling_shares_the_potential(potential: TorchPotential) -> None:
    target = BoltzmannTarget(potential, 300.0)
    hot = target.at(1200.0)
    assert hot.potential is potential
    assert (target.temperature, hot.temperature) == (300.0, 1200.0)


@pytest.mark.parametrize("temperature", [0.0, -300.0, float("nan"), float("inf")])
def test_refuses_impossible_temperatures(potential: TorchPotential, temperature: float) -> None:
    with pytest.raises(OptionError, match="positive temperature"):
        BoltzmannTarget(potential, temperature)
    with pytest.raises(OptionError, match="positive temperature"):
        BoltzmannTarget(potential).at(temperature)


def test_failed_frame_has_no_density(potential: TorchPotential, thermal: Array) -> None:
    x = torch.tensor(thermal[:2])
    x[1] = torch.nan
    assert BoltzmannTarget(potential).log_prob(x)[1] == -torch.inf


def test_pullback_adds_the_log_ratio(potential: TorchPotential, thermal: Array) -> None:
    z = 2 * torch.tensor(thermal[:4]).flatten(1).requires_grad_()
    target = BoltzmannTarget(potential, 300.0)
    density = pullback(target, Flattened(22))
    assert density.domain == Domain.real(66)
    log_prob, energy = density.evaluate(z)
    expected = target.log_prob(torch.tensor(thermal[:4])) + 66 * torch.tensor(0.5, dtype=torch.float64).log()
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(density.log_prob(z), expected)
    torch.testing.assert_close(energy, potential.energy(torch.tensor(thermal[:4])))
    (gradient,) = torch.autograd.grad(log_prob.sum(), z)
    forces = potential.energy_and_forces(torch.tensor(thermal[:4]))[1]
    torch.testing.assert_close(gradient, 0.5 * forces.flatten(1) / thermal_energy(300.0))
    hot = density.at(600.0).log_prob(z, None)
    torch.testing.assert_close(hot, density.log_prob(z, torch.full((4,), 600.0)))


def test_pullback_refuses_a_transform_of_another_molecule(potential: TorchPotential) -> None:
    with pytest.raises(OptionError, match="Expected a transform with the output domain"):
        pullback(BoltzmannTarget(potential), Flattened(21))
