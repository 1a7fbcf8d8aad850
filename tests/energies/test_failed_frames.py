"""A frame whose energy is finite and whose force is not: failed everywhere, and never at rest in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import openmm
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes

from boltzflow.core.objectives import reverse_kl
from boltzflow.energies import ASEPotential, BoltzmannTarget, OpenMMPotential, Potential, TorchPotential
from boltzflow.errors import NonFiniteError
from boltzflow.simulation import Langevin, ParallelTempering, Particles, TemperingOptions, minimize
from boltzflow.simulation.bias import BiasedPotential


class NoForce(Potential):
    """½ k x² without a force where x > 0.5."""

    def _energy_and_forces(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forces = -1000.0 * torch.where(positions[:, :1, :1] > 0.5, torch.nan, positions)
        return 500.0 * positions.square().sum((1, 2)), forces


class Calculated(Calculator):  # type: ignore[misc]
    """The same of ASE, in its units."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms: object = None, properties: object = None, system_changes: object = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        self.results = {"energy": 0.5 * (x**2).sum(), "forces": np.where(x[0, 0] > 5.0, np.nan, -x)}


def root() -> openmm.System:
    """√r at r = 0.5, from below, whose slope is infinite there, and a spring beside it."""
    system = openmm.System()
    for _ in range(3):
        system.addParticle(12.0)
    bond, spring = openmm.CustomBondForce("(0.5-r)^0.5"), openmm.HarmonicBondForce()
    bond.addBond(0, 1, [])
    spring.addBond(1, 2, 0.2, 100.0)
    system.addForce(bond)
    system.addForce(spring)
    return system


FRAMES = torch.tensor([[[0.0, 0, 0], [x, 0, 0], [0.75, 0, 0]] for x in (0.25, 0.5, 0.375)], dtype=torch.float64)
MAKERS: dict[str, Callable[[], Potential]] = {
    "torch": lambda: TorchPotential(root(), compile=False),
    "openmm": lambda: OpenMMPotential(root(), platform="Reference"),
    "biased": lambda: BiasedPotential(TorchPotential(root(), compile=False), lambda x: x.sum((1, 2))),
    "bias": lambda: BiasedPotential(
        TorchPotential(openmm_without_forces(), compile=False), lambda x: (0.5 - x[:, 1, 0]).sqrt()
    ),
}


def openmm_without_forces() -> openmm.System:
    system = openmm.System()
    for _ in range(3):
        system.addParticle(12.0)
    return system


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_counted_and_has_neither_energy_nor_force(name: str) -> None:
    potential = MAKERS[name]()
    energy, forces = potential.energy_and_forces(FRAMES)
    assert energy.isfinite().tolist() == [True, False, True]
    assert energy[1] == torch.inf
    assert not forces[1].any()
    assert forces[[0, 2]].flatten(1).any(1).all()
    assert potential.failed == 1
    x = FRAMES.clone().requires_grad_()
    value = potential(x)
    torch.testing.assert_close(value.detach(), energy)
    (gradient,) = torch.autograd.grad(value.exp().sum(), x)
    assert gradient.isfinite().all()
    assert potential.failed == 2
    if "bias" not in name:
        torch.testing.assert_close(potential.energy(FRAMES), energy)
        assert potential.failed == 3


def test_a_calculator_too() -> None:
    potential = ASEPotential(Calculated(), ase.Atoms("H", [[1.0, 0.0, 0.0]]))
    energy, forces = potential.energy_and_forces(torch.tensor([[[0.1, 0.0, 0.0]], [[0.6, 0.0, 0.0]]]))
    assert energy.isfinite().tolist() == [True, False]
    assert not forces[1].any()
    assert potential.failed == 1


def test_second_derivatives_of_the_others_are_theirs() -> None:
    potential = TorchPotential(root(), compile=False)
    x = FRAMES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(potential(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.square().sum(), x)
    assert curvature.isfinite().all()
    assert not curvature[1].any()
    assert curvature[[0, 2]].flatten(1).any(1).all()


def test_training_leaves_it_out_and_gives_it_no_weight() -> None:
    class Points(torch.nn.Module):
        """Three samples at one learned place each."""

        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([0.2, 0.6, -0.3])[:, None, None] * torch.tensor([1.0, 0.0, 0.0]))

        def sample(self, n: int, context: object = None, *, generator: object = None) -> tuple[torch.Tensor, ...]:
            return self.x, torch.zeros(n)

        def log_prob(self, x: torch.Tensor, context: object = None) -> torch.Tensor:
            return torch.zeros(len(x))

    flow, target = Points(), BoltzmannTarget(NoForce(1))
    loss = reverse_kl(flow, target, 3)
    assert loss.log_weights.isfinite().tolist() == [True, False, True]
    loss.value.backward()
    assert loss.value.isfinite()
    assert flow.x.grad is not None
    assert flow.x.grad[:, 0, 0].sign().tolist() == [1.0, 0.0, -1.0]


def test_minimisation_does_not_take_it_for_a_minimum() -> None:
    start = torch.tensor([[[0.3, 0.0, 0.0]], [[0.5001, 0.0, 0.0]]], dtype=torch.float64)
    found = minimize(NoForce(1), start, tolerance=1e-3, generator=torch.Generator().manual_seed(0))
    assert found.converged.all()
    assert found.positions.abs().max() < 1e-4
    with pytest.raises(NonFiniteError, match="Expected structures with a finite energy"):
        minimize(NoForce(1), start + 9.0)


def test_dynamics_lose_the_replica() -> None:
    dynamics = Langevin(NoForce(1), Particles([20.0]), 300.0, compile=False)
    state = dynamics.start(torch.tensor([0.0, 0.6, 0.0])[:, None, None].expand(3, 1, 3), torch.Generator())
    assert state.lost.tolist() == [False, True, False]
    assert dynamics.run(state, 5).lost.tolist() == [False, True, False]
    thrown = dynamics.start(torch.zeros(3, 1, 3), torch.Generator().manual_seed(0))
    thrown.velocities[2, 0, 0] = 400.0
    assert dynamics.run(thrown, 10).lost.tolist() == [False, False, True]


def test_parallel_tempering_loses_the_ladder(tmp_path: Path) -> None:
    dynamics = Langevin(NoForce(1), Particles([20.0]), compile=False)
    sampler = ParallelTempering(dynamics, [300.0, 400.0], ladders=2)
    start = torch.tensor([0.0, 0.0, 0.0, 0.6])[:, None, None].expand(4, 1, 3)
    options = TemperingOptions(picoseconds=0.02, equilibration=0.0, swap_every=0.005, record_every=0.01)
    assert sampler.run(start, options).lost.tolist() == [False, True]
