"""Langevin dynamics of many replicas in parallel."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.core.compilation import compiled
from boltzflow.energies import Potential
from boltzflow.errors import OptionError, ShapeError
from boltzflow.molecules import MolecularSystem
from boltzflow.simulation.particles import Particles
from boltzflow.units import GAS_CONSTANT, Temperature, checked_temperature, value_in


@dataclass(frozen=True)
class State:
    """The state of all replicas. Tensors are views of (3, N, batch) storage, the fastest layout for the dynamics.

    Attributes:
        positions: (batch, N, 3) in nm.
        velocities: (batch, N, 3) in nm/ps.
        energies: (batch,) in kJ/mol.
        forces: (batch, N, 3) in kJ/(mol nm).
        lost: (batch,) whether a replica has become unstable; its data are meaningless from then on.
    """

    positions: Tensor
    velocities: Tensor
    energies: Tensor
    forces: Tensor
    lost: Tensor

    def __len__(self) -> int:
        return len(self.energies)


class Langevin:
    """Langevin dynamics with the BAOAB integrator, and geodesic BAOAB with constraints.

    A step is kick, drift, exact friction and noise, drift, kick (Leimkuhler & Matthews 2013, DOI 10.1063/1.4802990).
    The error of the configurational distribution is of second order in the time step, and zero for harmonic forces.
    The kinetic temperature is too low by a term of second order. With constraints, drifts follow the constraint
    manifold, and kicks and noise are projected onto it (Leimkuhler & Matthews 2016, DOI 10.1098/rspa.2016.0138).

    Args:
        potential: energies and forces.
        particles: masses and constraints.
        temperature: in K, a number or a Quantity, or one for each replica.
        friction: in 1/ps.
        timestep: in ps.
        compile: whether to use `torch.compile`, if a compiler works.

    Raises:
        ShapeError: if particles and potential differ in the number of atoms.
        OptionError: if temperature or time step is not positive, or the friction is negative.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> dynamics = Langevin.of(system, system.potential("openmm"), compile=False)
    >>> state = dynamics.start(torch.tensor(system.positions).expand(2, -1, -1), torch.Generator().manual_seed(0))
    >>> dynamics.run(state, 10).energies.shape
    torch.Size([2])
    """

    def __init__(
        self,
        potential: Potential,
        particles: Particles,
        temperature: Temperature | Sequence[float] | Tensor = 300.0,
        *,
        friction: float | u.Quantity = 1.0,
        timestep: float | u.Quantity = 0.001,
        compile: bool = True,
    ) -> None:
        if len(particles) != potential.n_atoms:
            raise ShapeError(f"Expected {potential.n_atoms} particles, as in the potential; got {len(particles)}.")
        self.potential, self.particles = potential, particles
        self.temperature = _temperatures(temperature)
        self.friction = value_in(friction, u.picosecond**-1)
        self.timestep = value_in(timestep, u.picosecond)
        if not (0.0 <= self.friction < math.inf and 0.0 < self.timestep < math.inf):
            raise OptionError(
                f"Expected a friction ≥ 0 in 1/ps and a time step > 0 in ps; got {self.friction:g}, {self.timestep:g}."
            )
        self._push = compiled(_push, fullgraph=True) if compile else _push

    @classmethod
    def of(cls, system: MolecularSystem, potential: Potential | None = None, **options: object) -> Langevin:
        """Dynamics of a molecule at its own temperature, with its own potential if none is given.

        `options` are those of `Langevin`.
        """
        settings = {"temperature": system.temperature, **options}
        particles = Particles.of(system)
        return cls(potential or system.potential(), particles, **settings)  # type: ignore[arg-type]

    def at(self, temperature: Temperature | Sequence[float] | Tensor) -> Langevin:
        """The same dynamics at another temperature in K, or at one temperature for each replica."""
        sibling = copy.copy(self)
        sibling.temperature = _temperatures(temperature)
        return sibling

    def on(self, potential: Potential) -> Langevin:
        """The same dynamics with another potential of the same particles."""
        sibling = copy.copy(self)
        sibling.potential = potential
        return sibling

    @torch.no_grad()
    def start(self, positions: Tensor, generator: torch.Generator | None = None) -> State:
        """Replicas at these positions, projected onto the constraints, with thermal velocities.

        positions: (batch, N, 3) in nm.

        Raises:
            ShapeError: if positions or temperatures do not fit.
            ConvergenceError: if the constraints cannot be satisfied.
        """
        check_positions(positions, self.potential.n_atoms)
        x = batch_last(positions.detach())
        particles = self.particles.like(x)
        v = self._thermal_width(particles, x) * torch.empty_like(x).normal_(generator=generator)
        if particles.constraints is not None:
            x = particles.constraints.satisfied(x)
            v = particles.constraints.tangent(x, v)
        x = particles.placed(x)
        energies, forces = self.potential.energy_and_forces(batch_first(x))
        return State(batch_first(x), batch_first(v), energies, batch_first(batch_last(forces)), ~energies.isfinite())

    @torch.no_grad()
    def run(self, state: State, steps: int, generator: torch.Generator | None = None) -> State:
        """Run a number of steps and return the new state.

        A replica that becomes unstable (a non-finite value, or velocities far above thermal ones) is marked as lost.
        It does not affect the other replicas.

        Raises:
            ShapeError: if the temperatures do not fit the replicas.
            ConvergenceError: if the constraints of a replica that is not lost cannot be satisfied.
        """
        x, v, f = (batch_last(t) for t in (state.positions, state.velocities, state.forces))
        energies, lost = state.energies, state.lost
        particles = self.particles.like(x)
        half = 0.5 * self.timestep
        kick = self.timestep * particles.inverse_masses[:, None]
        decay = math.exp(-self.friction * self.timestep)
        width = math.sqrt(1.0 - decay**2) * self._thermal_width(particles, x)
        noise = torch.empty_like(x)
        constraints = particles.constraints
        impulse = 0.5 * kick  # between steps, two half kicks are combined
        for _ in range(steps):
            noise.normal_(generator=generator)
            if constraints is None:
                x, v = self._push(x, v, f, noise, impulse, width, half, decay)
            else:
                # A drift first removes the velocity component normal to the constraints, so kicks and noise need no
                # separate projection.
                x, v = constraints.drift(x, v + impulse * f, half)
                x, v = constraints.drift(x, decay * v + width * noise, half)
            energies, forces = self.potential.energy_and_forces(batch_first(x))
            f = batch_last(forces)
            lost = lost | ~energies.isfinite()
            impulse = kick
        v = v + 0.5 * kick * f if steps else v
        if constraints is not None:
            v = constraints.tangent(x, v)
        x = particles.placed(x)
        state = State(batch_first(x), batch_first(v), energies, batch_first(f), lost)
        return State(batch_first(x), batch_first(v), energies, batch_first(f), lost | ~self._is_thermal(state))

    def kinetic_energies(self, state: State) -> Tensor:
        """The kinetic energy of each replica, (batch,) in kJ/mol."""
        masses = self.particles.masses.to(state.velocities)
        return 0.5 * (masses[:, None] * state.velocities.square()).sum((1, 2))

    def kinetic_temperatures(self, state: State) -> Tensor:
        """(batch,) in K: twice the kinetic energy, divided by the gas constant and the degrees of freedom."""
        return 2.0 * self.kinetic_energies(state) / (GAS_CONSTANT * self.particles.degrees_of_freedom)

    def _is_thermal(self, state: State) -> Tensor:
        """Whether a replica's velocities are plausible: a χ² above 10 ν + 60 has a probability below 1e-13."""
        temperature = self.temperature.to(state.energies)
        chi_square = 2.0 * self.kinetic_energies(state) / (GAS_CONSTANT * temperature)
        return chi_square < 10.0 * self.particles.degrees_of_freedom + 60.0

    def _thermal_width(self, particles: Particles, x: Tensor) -> Tensor:
        """Standard deviation of each velocity, (N, batch) or (N, 1), in nm/ps."""
        temperature = self.temperature.to(x)
        if temperature.numel() not in (1, x.shape[-1]):
            raise ShapeError(
                f"Expected one temperature, or one for each of {x.shape[-1]} replicas; got {temperature.numel()}."
            )
        return (GAS_CONSTANT * temperature * particles.inverse_masses[:, None]).sqrt()


def _push(
    x: Tensor, v: Tensor, f: Tensor, noise: Tensor, impulse: Tensor, width: Tensor, half: float, decay: float
) -> tuple[Tensor, Tensor]:
    """Kick, drift, friction and noise, drift."""
    v = v + impulse * f
    x = x + half * v
    v = decay * v + width * noise
    return x + half * v, v


def check_positions(positions: Tensor, n_atoms: int) -> None:
    """Check that positions are (batch, N, 3).

    Raises:
        ShapeError: if they have another shape.
    """
    if positions.dim() != 3 or positions.shape[1:] != (n_atoms, 3):
        raise ShapeError(f"Expected positions (batch, {n_atoms}, 3) in nm; got {tuple(positions.shape)}.")


def batch_last(x: Tensor) -> Tensor:
    """(batch, N, 3) → contiguous (3, N, batch); a view of such storage is not copied."""
    return x.permute(2, 1, 0).contiguous()


def batch_first(x: Tensor) -> Tensor:
    """(3, N, batch) → a view (batch, N, 3)."""
    return x.permute(2, 1, 0)


def _temperatures(temperature: Temperature | Sequence[float] | Tensor) -> Tensor:
    """(1,) or (batch,) in K, float64."""
    if isinstance(temperature, Tensor | Sequence):
        values = torch.as_tensor(temperature, dtype=torch.float64).flatten()
        for value in values.tolist():
            checked_temperature(value)
        return values
    return torch.tensor([checked_temperature(temperature)], dtype=torch.float64)
