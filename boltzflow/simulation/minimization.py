"""Energy minimisation of many structures in parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from boltzflow.energies import Potential
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.simulation.langevin import batch_first, batch_last, check_positions
from boltzflow.simulation.particles import Particles

_START, _LONGEST, _SHORTEST = 2e-4, 2e-3, 4e-6  # time steps for a mass of 1 dalton, ps
_GROW, _SHRINK, _PATIENCE = 1.1, 0.5, 20
_MIXING, _MIXING_DECAY = 0.25, 0.99
_LARGEST_FORCE = 1e6  # kJ/(mol nm): squares of larger ones could overflow
_LARGEST_ENERGY = 1e30  # kJ/mol: above it, forces may overflow
_TINY = 1e-30
_LARGEST_MOVE = 0.005  # nm in a step
_ROUND = 100  # steps between convergence checks
_SHAKES, _SHAKE, _SHAKE_GROWTH = (
    12,
    0.01,
    1.3,
)  # random moves that separate coincident atoms: number, first (nm), growth


@dataclass(frozen=True)
class Minimum:
    """The result of a minimisation.

    Attributes:
        positions: (batch, N, 3) in nm.
        energies: (batch,) in kJ/mol.
        largest_force: (batch,) the largest force on an atom, projected onto the constraints, in kJ/(mol nm).
        converged: (batch,) whether the largest force is within the tolerance.
    """

    positions: Tensor
    energies: Tensor
    largest_force: Tensor
    converged: Tensor


@torch.no_grad()
def minimize(
    potential: Potential,
    positions: Tensor,
    particles: Particles | None = None,
    *,
    tolerance: float = 10.0,
    max_steps: int = 5000,
    generator: torch.Generator | None = None,
) -> Minimum:
    """Minimise the energy of each structure independently, by the fast inertial relaxation engine (FIRE).

    Bitzek et al. 2006, DOI 10.1103/PhysRevLett.97.170201, with the semi-implicit Euler steps of Guénolé et al. 2020,
    DOI 10.1016/j.commatsci.2020.109584. Forces and moves are limited, so that clashes relax safely. If atoms are so
    close that the energy overflows, random moves separate them first.

    Args:
        potential: what to minimise.
        positions: (batch, N, 3) in nm.
        particles: masses and constraints; constraints are kept, and particles of mass 0 stay where they are.
        tolerance: for the largest force on an atom, kJ/(mol nm).
        max_steps: the maximum number of steps for each structure.
        generator: the random number generator for the random moves.

    Raises:
        OptionError: if the tolerance or the number of steps is not positive.
        ShapeError: if positions, particles and potential do not fit.
        NonFiniteError: if a structure has no finite energy even after random moves.
        ConvergenceError: if constraints cannot be satisfied.

    >>> import openmm
    >>> from boltzflow.energies import TorchPotential
    >>> system = openmm.System()
    >>> _ = [system.addParticle(1.0) for _ in range(2)]
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0), system.addForce(bond)
    >>> start = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]], dtype=torch.float64)
    >>> found = minimize(TorchPotential(system, compile=False), start, tolerance=1e-3)
    >>> found.positions.diff(dim=1).norm(dim=2).round(decimals=4)
    tensor([[0.1000]], dtype=torch.float64)
    """
    particles = checked_particles(potential, positions, particles, tolerance, max_steps)
    run = _Descent(potential, particles, tolerance)
    motion = run.start(batch_last(positions.detach()), generator)
    for step in range(0, max_steps, _ROUND):
        open_ = (run.largest(motion.force) > tolerance).nonzero().flatten()
        if not len(open_):
            break
        part = _Motion(*(tensor.index_select(-1, open_) for tensor in motion))
        for _ in range(min(_ROUND, max_steps - step)):
            part = run.step(part)
        motion = _Motion(*(whole.index_copy(-1, open_, new) for whole, new in zip(motion, part, strict=True)))
    largest = run.largest(motion.force)
    return Minimum(batch_first(particles.placed(motion.x)), motion.energy, largest, largest <= tolerance)


def checked_particles(
    potential: Potential, positions: Tensor, particles: Particles | None, tolerance: float, max_steps: int
) -> Particles:
    """The particles of a minimisation on the device of the positions; equal masses without constraints if None.

    Raises:
        OptionError: if the tolerance or the number of steps is not positive.
        ShapeError: if positions, particles and potential do not fit.
    """
    if not (tolerance > 0.0 and max_steps > 0):
        raise OptionError(f"Expected a positive tolerance and number of steps; got {tolerance:g} and {max_steps}.")
    particles = particles or Particles([1.0] * potential.n_atoms)
    if len(particles) != potential.n_atoms:
        raise ShapeError(f"Expected {potential.n_atoms} particles, as in the potential; got {len(particles)}.")
    check_positions(positions, potential.n_atoms)
    return particles.like(positions)


class _Motion(NamedTuple):
    """The state of a minimisation; the batch is the last axis."""

    x: Tensor
    v: Tensor
    energy: Tensor
    force: Tensor
    timestep: Tensor
    mixing: Tensor
    downhill: Tensor  # consecutive downhill steps


class _Descent:
    """FIRE dynamics: velocities are mixed towards the force, and set to zero when the motion goes uphill."""

    def __init__(self, potential: Potential, particles: Particles, tolerance: float) -> None:
        self.potential, self.tolerance = potential, tolerance
        self.constraints = particles.constraints
        # Constraint corrections are weighted by mass, so with constraints the real masses are used.
        moves = (particles.masses > 0).to(particles.masses)
        self.inverse_masses = (moves if self.constraints is None else particles.inverse_masses)[:, None]

    def start(self, x: Tensor, generator: torch.Generator | None) -> _Motion:
        """The initial state: at rest, on the constraints, after random moves where the energy overflows.

        Raises:
            NonFiniteError: if the energy still overflows.
        """
        for attempt in range(_SHAKES + 1):
            if self.constraints is not None:
                x = self.constraints.satisfied(x)
            energy, force = self.evaluate(x)
            high = ~(energy < _LARGEST_ENERGY)
            if not high.any():
                one = torch.ones_like(energy)
                return _Motion(x, torch.zeros_like(x), energy, force, _START * one, _MIXING * one, 0 * one)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            shake = _SHAKE * _SHAKE_GROWTH**attempt
            x = torch.where(high & (self.inverse_masses > 0), x + shake * noise, x)
        raise NonFiniteError(
            f"Expected structures with a finite energy; {int(high.sum())} of {len(high)} have none, even after "
            f"{_SHAKES} random moves of up to {shake:.2f} nm."
        )

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and forces (3, N, batch), limited and projected onto the constraints."""
        energy, forces = self.potential.energy_and_forces(batch_first(x))
        force = batch_last(forces).clamp(-_LARGEST_FORCE, _LARGEST_FORCE)
        if self.constraints is not None:
            force = self.constraints.tangent(x, force * self.inverse_masses) / self.inverse_masses
        return energy, torch.where(self.inverse_masses > 0, force, 0.0)

    def largest(self, force: Tensor) -> Tensor:
        """The largest force on an atom, (batch,)."""
        return force.square().sum(0).amax(0).sqrt()

    def step(self, motion: _Motion) -> _Motion:
        """One step of all structures; converged structures do not move."""
        x, v, energy, force, timestep, mixing, downhill = motion
        falls = (force * v).sum((0, 1)) >= 0
        downhill = torch.where(falls, downhill + 1, 0.0)
        patient = downhill > _PATIENCE
        timestep = torch.where(patient, (timestep * _GROW).clamp(max=_LONGEST), timestep)
        timestep = torch.where(falls, timestep, (timestep * _SHRINK).clamp(min=_SHORTEST))
        mixing = torch.where(patient, mixing * _MIXING_DECAY, mixing)
        mixing = torch.where(falls, mixing, _MIXING)

        acceleration = self.inverse_masses * force
        v = torch.where(falls, v, 0.0) + timestep * acceleration
        steered = (v.square().sum((0, 1)) / acceleration.square().sum((0, 1)).clamp_min(_TINY)).sqrt()
        v = torch.where(falls, (1 - mixing) * v + mixing * steered * acceleration, v)
        move = timestep * v.square().sum(0).amax(0).sqrt()
        v = v * (_LARGEST_MOVE / move.clamp_min(_TINY)).clamp(max=1.0)
        if self.constraints is None:
            new_x, new_v = x + timestep * v, v
        else:
            new_x, moved = self.constraints.drift(x, timestep * v, 1.0)
            new_v = moved / timestep

        new_energy, new_force = self.evaluate(new_x)
        overflows = ~(new_energy < _LARGEST_ENERGY)  # step rejected: restart from rest with a much shorter time step
        taken = (self.largest(force) > self.tolerance) & ~overflows
        return _Motion(
            torch.where(taken, new_x, x),
            torch.where(taken, new_v, 0.0),
            torch.where(taken, new_energy, energy),
            torch.where(taken, new_force, force),
            torch.where(overflows, 0.1 * timestep, timestep),
            mixing,
            downhill,
        )
