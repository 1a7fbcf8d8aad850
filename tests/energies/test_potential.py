"""The protocol of potentials: gradients, failures, shapes, dtypes."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch

from boltzflow.energies import OpenMMPotential, Potential, TorchPotential
from boltzflow.errors import IntractableDensityError, ShapeError
from boltzflow.testing import check_potential

from .conftest import Array


@pytest.fixture(params=["torch", "openmm"])
def potential(request: pytest.FixtureRequest, obc1: openmm.System) -> Potential:
    if request.param == "torch":
        return TorchPotential(obc1, compile=False)
    return OpenMMPotential(obc1, platform="Reference")


def test_conformance(potential: Potential, thermal: Array) -> None:
    check_potential(potential, torch.tensor(thermal[:4]))


def test_conformance_notices_wrong_forces(obc1: openmm.System, thermal: Array) -> None:
    class Wrong(TorchPotential):
        def _energy_and_forces(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            energy, forces = super()._energy_and_forces(positions)
            return energy, 1.001 * forces

    with pytest.raises(AssertionError, match="forces against differences of the energy"):
        check_potential(Wrong(obc1, compile=False), torch.tensor(thermal[:4]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_minus_the_force(potential: Potential, thermal: Array, dtype: torch.dtype) -> None:
    x = torch.tensor(thermal[:4], dtype=dtype, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=dtype)
    energy = potential(x)
    (gradient,) = torch.autograd.grad((weights * energy).sum(), x)
    value, forces = potential.energy_and_forces(x)
    assert energy.dtype == gradient.dtype == dtype
    torch.testing.assert_close(energy, value)
    torch.testing.assert_close(gradient, -weights[:, None, None] * forces)
    assert not value.requires_grad
    assert not forces.requires_grad


def test_first_and_second_derivatives(obc1: openmm.System, thermal: Array) -> None:
    potential = TorchPotential(obc1, compile=False)
    x = torch.tensor(thermal[[3, 90]], requires_grad=True)
    torch.autograd.gradcheck(potential, x, eps=1e-6, atol=1e-3, rtol=1e-6, fast_mode=True)
    torch.autograd.gradgradcheck(potential, x, eps=1e-6, atol=1e-2, rtol=1e-6, fast_mode=True)


def test_energy_by_plain_autograd_has_the_analytic_forces(obc1: openmm.System, clashing: Array) -> None:
    potential = TorchPotential(obc1, compile=False)
    x = torch.tensor(clashing, requires_grad=True)
    (gradient,) = torch.autograd.grad(potential.differentiable_energy(x).sum(), x)
    torch.testing.assert_close(-gradient, potential.energy_and_forces(x)[1], rtol=1e-8, atol=1e-6)


def test_no_second_derivatives_from_openmm(obc1: openmm.System, thermal: Array) -> None:
    x = torch.tensor(thermal[:1], requires_grad=True)
    energy = OpenMMPotential(obc1, platform="Reference")(x)
    with pytest.raises(IntractableDensityError, match="a potential with second derivatives"):
        torch.autograd.grad(energy.sum(), x, create_graph=True)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(potential: Potential, thermal: Array, batch: int) -> None:
    x = torch.tensor(thermal[:batch])
    energy, forces = potential.energy_and_forces(x)
    assert energy.shape == (batch,)
    assert forces.shape == (batch, 22, 3)
    torch.testing.assert_close(potential.energy(x), energy)
    torch.testing.assert_close(potential(x.requires_grad_()).detach(), energy)


@pytest.mark.parametrize("bad", ["nan", "inf", "coincident"])
def test_failed_frame_is_infinite_and_alone(potential: Potential, thermal: Array, bad: str) -> None:
    x = torch.tensor(thermal[:5])
    expected, expected_forces = potential.energy_and_forces(x)
    x[2, 7] = x[2, 21] if bad == "coincident" else float(bad)
    energy, forces = potential.energy_and_forces(x)
    assert energy[2] == torch.inf
    assert not forces[2].any()
    others = [0, 1, 3, 4]
    torch.testing.assert_close(energy[others], expected[others], rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(forces[others], expected_forces[others], rtol=1e-10, atol=1e-8)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(potential(x).exp().sum(), x)  # its incoming gradient is infinite
    assert torch.isfinite(gradient[2]).all()


def test_overflow_in_float32_is_infinite(obc1: openmm.System, thermal: Array) -> None:
    x = torch.tensor(thermal[:2], dtype=torch.float32)
    x[0, 0] = x[0, 21] + 1e-5
    energy, forces = TorchPotential(obc1, compile=False).energy_and_forces(x)
    assert energy[0] == torch.inf
    assert not forces[0].any()
    assert torch.isfinite(energy[1])
    assert forces[1].any()


@pytest.mark.parametrize("shape", [(22, 3), (2, 21, 3), (2, 22, 2), (2, 66)])
def test_refuses_wrong_shapes(potential: Potential, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected positions of shape \(batch, 22, 3\) in nm; got"):
        potential(torch.zeros(shape))


def test_refuses_what_is_no_tensor(potential: Potential) -> None:
    with pytest.raises(ShapeError, match="expected positions as a tensor; got ndarray"):
        potential.energy(np.zeros((2, 22, 3)))  # type: ignore[arg-type]


def test_counts_evaluations(potential: Potential, thermal: Array) -> None:
    x = torch.tensor(thermal[:3])
    potential.energy(x), potential.energy_and_forces(x), potential(x.requires_grad_())
    assert potential.evaluations == 9
