"""What a force field's bonded terms say of each internal coordinate on its own: where a generator starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import openmm
import torch
from torch import Tensor

from boltzflow.coordinates import InternalCoordinates
from boltzflow.core.distributions import Distribution, Independent, Product, Tabulated
from boltzflow.core.domain import Domain
from boltzflow.energies import OpenMMPotential, Potential, TorchPotential
from boltzflow.energies.system_xml import copy_system
from boltzflow.errors import UnsupportedForceError
from boltzflow.units import thermal_energy

KNOTS = 64
"""Knots of each table."""

_BONDED = (
    openmm.HarmonicBondForce,
    openmm.HarmonicAngleForce,
    openmm.PeriodicTorsionForce,
    openmm.RBTorsionForce,
    openmm.CMAPTorsionForce,
    openmm.CustomBondForce,
    openmm.CustomAngleForce,
    openmm.CustomTorsionForce,
    openmm.CustomCompoundBondForce,
)
_ROUNDS = 4
_SPREAD = 0.2  # share of the knots that stay evenly spread, so that no peak is missed
_FLOOR = 1e-3  # share of a uniform density, so that nothing in the domain is ruled out
_REACH = 6.0  # of real coordinates, in units of their scale
_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True)
class Marginals:
    """One-dimensional Boltzmann densities of all coordinates of a domain.

    Attributes:
        knots: (D, K), from bound to bound; within ± 6 of real coordinates.
        values: (D, K), the density at the knots.
    """

    knots: Tensor
    values: Tensor

    @property
    def means(self) -> Tensor:
        """Mean of each coordinate (D,), read from its lower bound on a circle too."""
        return torch.trapezoid(self.values * self.knots, self.knots, dim=1)

    @property
    def widths(self) -> Tensor:
        """Standard deviation of each coordinate (D,)."""
        return torch.trapezoid(self.values * (self.knots - self.means[:, None]) ** 2, self.knots, dim=1).sqrt()

    def base(self, domain: Domain) -> Distribution:
        """The product of these densities: tables for bounded coordinates, normal densities for real ones."""
        parts: list[Distribution] = []
        for run in runs(domain):
            if domain.coordinates[run[0]].kind == "real":
                parts.append(Independent(domain[run], self.means[run].float(), self.widths[run].float()))
            else:
                parts.append(Tabulated(domain[run], self.knots[run], self.values[run]))
        return parts[0] if len(parts) == 1 else Product(parts)


def empty_base(domain: Domain) -> Distribution:
    """A base of the same make as that of any `Marginals`, for a state dict to be loaded into."""
    parts = [
        Independent(domain[run]) if domain.coordinates[run[0]].kind == "real" else Tabulated.uniform(domain[run], KNOTS)
        for run in runs(domain)
    ]
    return parts[0] if len(parts) == 1 else Product(parts)


def runs(domain: Domain) -> list[list[int]]:
    """Consecutive coordinates that are all real, or all bounded."""
    found: list[list[int]] = []
    for i, coordinate in enumerate(domain):
        if found and (domain.coordinates[found[-1][0]].kind == "real") == (coordinate.kind == "real"):
            found[-1].append(i)
        else:
            found.append([i])
    return found


def informed_marginals(
    system: openmm.System, coordinates: InternalCoordinates, positions: Tensor, temperature: float
) -> Marginals:
    """The Boltzmann density of each internal coordinate in turn, all others as in the reference structure.

    Of the energy only bonded terms count, with pairs three bonds apart where they are exceptions of a
    NonbondedForce; the volume element counts too. So a ring's torsions keep it closed, a torsion that carries
    a methyl has its three minima, and the direction from one molecule to another is uniform on the sphere.

    Args:
        system: the Hamiltonian.
        coordinates: of it.
        positions: reference structure (N, 3), nm.
        temperature: K.
    """
    domain = coordinates.domain
    reference = coordinates.inverse(positions.double()[None])[0]
    potential = _bonded(system)
    like = torch.empty(0, dtype=torch.float64)
    is_real = torch.tensor([c.kind == "real" for c in domain])
    low = torch.where(is_real, reference[0] - _REACH, domain.lows(like))
    high = torch.where(is_real, reference[0] + _REACH, domain.highs(like))
    knots = low[:, None] + (high - low)[:, None] * torch.linspace(0.0, 1.0, KNOTS, dtype=torch.float64)
    log_values = partial(_log_values, potential, coordinates, reference, thermal_energy(temperature))
    for _ in range(_ROUNDS):
        values = _normalized(knots, log_values(knots))
        knots = _where_the_density_is(knots, values)
    values = _normalized(knots, log_values(knots))
    return Marginals(knots, (1 - _FLOOR) * values + _FLOOR / (high - low)[:, None])


def _bonded(system: openmm.System) -> Potential:
    """The potential of bonded terms alone, and of the exceptions of nonbonded ones."""
    bonded = copy_system(system)
    for index in reversed(range(bonded.getNumForces())):
        force = bonded.getForce(index)
        if isinstance(force, openmm.NonbondedForce):
            for particle in range(force.getNumParticles()):
                force.setParticleParameters(particle, 0.0, 1.0, 0.0)
            for offset in range(force.getNumParticleParameterOffsets()):
                name, particle, *_ = force.getParticleParameterOffset(offset)
                force.setParticleParameterOffset(offset, name, particle, 0.0, 0.0, 0.0)
            force.setNonbondedMethod(force.NoCutoff)
        elif not isinstance(force, _BONDED):
            bonded.removeForce(index)
    try:
        return TorchPotential(bonded, compile=False)
    except UnsupportedForceError:
        return OpenMMPotential(bonded)


def _log_values(
    potential: Potential, coordinates: InternalCoordinates, reference: Tensor, kt: float, knots: Tensor
) -> Tensor:
    """Logarithms of unnormalised densities (D, K) at the knots, one coordinate moved at a time."""
    size, n_knots = knots.shape
    found = []
    for start in range(0, size * n_knots, _FRAMES_AT_ONCE):
        frames = torch.arange(start, min(start + _FRAMES_AT_ONCE, size * n_knots))
        z = reference.repeat(len(frames), 1)
        z[torch.arange(len(frames)), frames // n_knots] = knots.flatten()[frames]
        x, log_volume = coordinates(z)
        found.append(log_volume - potential.energy(x) / kt)
    return torch.nan_to_num(torch.cat(found), nan=-math.inf).view(size, n_knots)


def _normalized(knots: Tensor, log_values: Tensor) -> Tensor:
    values = (log_values - log_values.amax(1, keepdim=True)).exp()
    return values / torch.trapezoid(values, knots, dim=1)[:, None]


def _where_the_density_is(knots: Tensor, values: Tensor) -> Tensor:
    """Knots (D, K) with equal shares of the density between them, some of it taken to be uniform."""
    low, high = knots[:, :1], knots[:, -1:]
    mixed = (1 - _SPREAD) * values + _SPREAD / (high - low)
    below = torch.cumulative_trapezoid(mixed, knots, dim=1)
    below = torch.cat([torch.zeros_like(low), below / below[:, -1:]], 1)
    shares = torch.linspace(0.0, 1.0, knots.shape[1], dtype=torch.float64)[1:-1].expand(len(knots), -1).contiguous()
    cell = torch.searchsorted(below, shares).clamp(1, knots.shape[1] - 1) - 1
    start, end = (torch.gather(below, 1, cell + i) for i in (0, 1))
    left, right = (torch.gather(knots, 1, cell + i) for i in (0, 1))
    inner = left + (right - left) * (shares - start) / (end - start)
    return torch.cat([low, inner, high], 1)
