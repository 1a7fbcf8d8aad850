"""Minimisation: known minima, clashes, constraints."""

from __future__ import annotations

import math

import pytest
import torch

from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.simulation import Particles, minimize

from .conftest import DoubleWell, Springs, dipeptide


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_goes_to_its_own_minimum(dtype: torch.dtype) -> None:
    """Left and right of a double well, and one that is there already."""
    well = DoubleWell(c=0.0)
    start = torch.tensor([[[-0.3, 0.1, 0.0]], [[0.02, 0.0, -0.2]], [[0.15, 0.0, 0.0]]], dtype=dtype)
    found = minimize(well, start, tolerance=0.01)
    assert found.converged.all()
    assert found.positions.dtype == dtype
    expected = torch.tensor([-0.15, 0.15, 0.15], dtype=dtype)
    torch.testing.assert_close(found.positions[:, 0, 0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.energies, torch.zeros(3, dtype=dtype), rtol=0, atol=1e-5)
    assert torch.equal(found.positions[2], start[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constraints", ["none", "HBonds"])
def test_clashes_come_down(constraints: str, dtype: torch.dtype, random: torch.Generator) -> None:
    """Distorted structures, one with atoms 1e-3 nm apart, one with two atoms on one spot: energies 1e10 to +inf."""
    system = dipeptide(constraints)
    potential = system.potential(backend="torch", compile=False)
    particles = Particles.of(system)
    start = torch.tensor(system.positions, dtype=dtype).repeat(6, 1, 1)
    start = start + 0.015 * torch.randn(start.shape, generator=random, dtype=dtype)
    start[4, 18] = start[4, 5] + 1e-3
    start[5, 18] = start[5, 5]
    before = potential.energy(start)
    assert before[4] > 1e10
    assert before[5] == math.inf
    found = minimize(potential, start, particles, tolerance=20.0, generator=random)
    assert found.converged.all()
    assert found.positions.isfinite().all()
    rest = potential.energy(torch.tensor(system.positions, dtype=dtype)[None])
    assert (found.energies < rest + 150.0).all()
    torch.testing.assert_close(found.energies, potential.energy(found.positions))
    if particles.constraints is not None:
        held = particles.like(start).constraints
        lengths = held.vectors(found.positions.permute(2, 1, 0)).norm(dim=0)
        torch.testing.assert_close(lengths, held.lengths.expand_as(lengths), rtol=5e-6, atol=0)


def test_constrained_minimum_has_no_force_along_the_constraints(random: torch.Generator) -> None:
    """Two springs to the origin and a rod between: the rod's middle ends there, and the force is along the rod."""
    reference = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]], dtype=torch.float64)
    particles = Particles([3.0, 3.0], [(0, 1)], [0.2], reference)
    start = reference + 0.1 * torch.randn(5, 2, 3, generator=random, dtype=torch.float64)
    found = minimize(Springs([100.0, 100.0]), start, particles, tolerance=1e-3)
    assert found.converged.all()
    torch.testing.assert_close(found.positions.mean(1), torch.zeros(5, 3).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.energies, torch.full((5,), 1.0).double(), rtol=1e-5, atol=0)


def test_massless_particles_stay() -> None:
    start = torch.ones(2, 2, 3)
    found = minimize(Springs([100.0, 100.0]), start, Particles([1.0, 0.0]))
    assert found.converged.all()
    assert torch.equal(found.positions[:, 1], start[:, 1])
    assert found.positions[:, 0].abs().max() < 0.2


def test_what_has_not_converged_is_said() -> None:
    found = minimize(Springs([100.0]), torch.tensor([[[5.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]), max_steps=3)
    assert found.converged.tolist() == [False, True]
    assert found.largest_force[0] > 400


def test_refusals() -> None:
    springs = Springs([1.0])
    with pytest.raises(OptionError, match="positive tolerance"):
        minimize(springs, torch.zeros(1, 1, 3), tolerance=0.0)
    with pytest.raises(ShapeError, match="Expected 1 particles"):
        minimize(springs, torch.zeros(1, 1, 3), Particles([1.0, 1.0]))
    for shape in ((1, 2, 3), (1, 3)):
        with pytest.raises(ShapeError, match=r"Expected positions \(batch, 1, 3\) in nm"):
            minimize(springs, torch.zeros(shape), Particles([1.0]))
    with pytest.raises(NonFiniteError, match="finite energy; 1 of 2 have none"):
        minimize(springs, torch.tensor([[[math.nan, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]))
