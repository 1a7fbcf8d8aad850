"""Energy minimisation of many structures at once."""

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
_LARGEST_ENERGY = 1e30  # kJ/mol: beyond, forces may overflow
_TINY = 1e-30
_LARGEST_MOVE = 0.005  # nm in a step
_ROUND = 100  # steps between looks for structures that are done
_SHAKES, _SHAKE, _SHAKE_GROWTH = 12, 0.01, 1.3  # random moves that part atoms on one spot; the first, nm


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        positions: (batch, N, 3) in nm.
        energies: (batch,) in kJ/mol.
        largest_force: (batch,) in kJ/(mol nm), of any atom, along the constraints.
        converged: (batch,) whether that is within the tolerance.
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
    """Minimise the energy of each structure on its own, by the fast inertial relaxation engine (FIRE).

    Bitzek et al. 2006, DOI 10.1103/PhysRevLett.97.170201, with the semi-implicit Euler steps of Guénolé et al. 2020,
    DOI 10.1016/j.commatsci.2020.109584. Forces and moves are limited, so that clashes come down; atoms so close that
    the energy overflows are first parted by random moves.

    Args:
        potential: what to minimise.
        positions: (batch, N, 3) in nm.
        particles: masses and constraints; constraints are kept, and particles of mass 0 stay where they are.
        tolerance: of the largest force on an atom, kJ/(mol nm).
        max_steps: for each structure.
        generator: for the random moves.

    Raises:
        OptionError: if tolerance or number of steps is not positive.
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
    if not (tolerance > 0.0 and max_steps > 0):
        raise OptionError(f"Expected a positive tolerance and number of steps; got {tolerance:g} and {max_steps}.")
    particles = particles or Particles([1.0] * potential.n_atoms)
    if len(particles) != potential.n_atoms:
        raise ShapeError(f"Expected {potential.n_atoms} particles, as in the potential; got {len(particles)}.")
    check_positions(positions, potential.n_atoms)
    particles = particles.like(positions)
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


class _Motion(NamedTuple):
    """Structures on their way down; the batch is the last axis."""

    x: Tensor
    v: Tensor
    energy: Tensor
    force: Tensor
    timestep: Tensor
    mixing: Tensor
    downhill: Tensor  # steps in a row


class _Descent:
    """A motion that is stopped when it goes uphill and steered along the force meanwhile."""

    def __init__(self, potential: Potential, particles: Particles, tolerance: float) -> None:
        self.potential, self.tolerance = potential, tolerance
        self.constraints = particles.constraints
        # Constraints share their corrections out by mass, so with them masses are the real ones.
        moves = (particles.masses > 0).to(particles.masses)
        self.inverse_masses = (moves if self.constraints is None else particles.inverse_masses)[:, None]

    def start(self, x: Tensor, generator: torch.Generator | None) -> _Motion:
        """At rest, on the constraints, shaken where the energy overflows until it does not.

        Raises:
            NonFiniteError: if it still does.
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
            f"{int(high.sum())} of {len(high)} structures have no finite energy, even after {_SHAKES} random moves of "
            f"up to {shake:.2f} nm."
        )

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and forces (3, N, batch), limited, along the constraints."""
        energy, forces = self.potential.energy_and_forces(batch_first(x))
        force = batch_last(forces).clamp(-_LARGEST_FORCE, _LARGEST_FORCE)
        if self.constraints is not None:
            force = self.constraints.tangent(x, force * self.inverse_masses) / self.inverse_masses
        return energy, torch.where(self.inverse_masses > 0, force, 0.0)

    def largest(self, force: Tensor) -> Tensor:
        """The largest force on an atom, (batch,)."""
        return force.square().sum(0).amax(0).sqrt()

    def step(self, motion: _Motion) -> _Motion:
        """One step of all; a structure that has arrived stays."""
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
        overflows = ~(new_energy < _LARGEST_ENERGY)  # not taken: from rest, with a much shorter time step
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
