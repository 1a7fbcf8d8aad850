"""Minimisation by L-BFGS: exact minima, the same as by FIRE, and what it refuses."""

from __future__ import annotations

import openmm
import pytest
import torch

import boltzflow as bf
from boltzflow.energies import TorchPotential
from boltzflow.errors import OptionError, ShapeError
from boltzflow.molecules.parameters import constraints
from boltzflow.simulation import Particles, minimize, polish


def quadratic(stiffness: list[float]) -> TorchPotential:
    """Each particle on springs of its own stiffness, to the point (1, 2, 3)."""
    system, force = openmm.System(), openmm.CustomExternalForce("k/2*((x-1)^2+2*(y-2)^2+5*(z-3)^2)")
    force.addPerParticleParameter("k")
    for k, stiff in enumerate(stiffness):
        system.addParticle(1.0)
        force.addParticle(k, [stiff])
    system.addForce(force)
    return TorchPotential(system, compile=False)


def test_the_minimum_of_a_stiff_quadratic():
    """Stiffnesses of five orders of magnitude, within 40 times the number of coordinates."""
    potential = quadratic([1.0, 100.0, 1e5])
    start = torch.randn(20, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.05
    goal = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = polish(potential, start + goal, tolerance=1e-5, max_steps=2000)
    assert found.converged.all()
    assert potential.evaluations < 20 * 360
    torch.testing.assert_close(found.positions, goal.expand(20, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.energies, torch.zeros(20, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (found.largest_force <= 1e-5).all()


def test_a_molecule_ends_at_the_minimum_of_fire():
    system = bf.load_system("butane")
    potential = system.potential()
    noise = torch.randn(4, system.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rough = minimize(potential, torch.from_numpy(system.positions) + 0.002 * noise, tolerance=500.0)
    one = polish(potential, rough.positions, tolerance=1e-4)
    other = minimize(potential, rough.positions, tolerance=1.0, max_steps=20_000)
    assert one.converged.all()
    assert (one.energies <= other.energies + 1e-9).all()
    torch.testing.assert_close(one.energies, other.energies, atol=0.02, rtol=0)
    energy, forces = potential.energy_and_forces(one.positions)
    torch.testing.assert_close(energy, one.energies)
    assert forces.norm(dim=2).max() <= 1e-4


def test_constraints_are_kept_and_the_minimum_is_that_of_fire():
    """Trialanine without terms for its bonds to hydrogen: without constraints it would collapse."""
    system = bf.load_system("ala3")
    potential, particles = system.potential(), Particles.of(system)
    noise = torch.randn(3, system.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rough = minimize(potential, torch.from_numpy(system.positions) + 0.005 * noise, particles, tolerance=500.0)
    one = polish(potential, rough.positions, particles, tolerance=0.05)
    other = minimize(potential, one.positions + 0.0005 * noise, particles, tolerance=1.0, max_steps=20_000)
    assert one.converged.all()
    torch.testing.assert_close(one.energies, other.energies, atol=0.02, rtol=0)
    assert (one.energies <= other.energies + 1e-6).all()
    pairs = constraints(system.openmm_system)
    assert len(pairs) > 10
    for i, j, length in pairs:
        apart = (one.positions[:, i] - one.positions[:, j]).norm(dim=1)
        torch.testing.assert_close(apart, torch.full_like(apart, length), rtol=1e-5, atol=0)


def test_energies_never_rise():
    system = bf.load_system("alanine_dipeptide")
    potential = system.potential()
    noise = torch.randn(8, system.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.from_numpy(system.positions) + 0.005 * noise
    last = potential.energy(x)
    for steps in (1, 3, 10, 30):
        now = polish(potential, x, max_steps=steps).energies
        assert (now <= last + 1e-9).all()
        last = now


def test_particles_without_mass_stay():
    potential = quadratic([10.0, 10.0])
    start = torch.zeros(3, 2, 3, dtype=torch.float64)
    found = polish(potential, start, Particles([0.0, 1.0]), tolerance=1e-6)
    assert (found.positions[:, 0] == 0.0).all()
    torch.testing.assert_close(found.positions[:, 1], torch.tensor([[1.0, 2.0, 3.0]] * 3, dtype=torch.float64))


def test_what_is_refused():
    potential, x = quadratic([1.0, 1.0]), torch.eye(3, dtype=torch.float64)[None, :2]
    with pytest.raises(OptionError, match="positive tolerance"):
        polish(potential, x, tolerance=0.0)
    with pytest.raises(ShapeError, match="2 particles"):
        polish(potential, x, Particles([1.0]))
    with pytest.raises(ShapeError):
        polish(potential, x[:, :1])
