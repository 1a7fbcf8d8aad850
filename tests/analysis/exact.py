"""Molecules and springs whose free energies are known, and how scores of estimates are judged."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import openmm
from openmm import app
from torch import Tensor

import boltzflow as bf
from boltzflow.arrays import Array
from boltzflow.energies import Potential
from boltzflow.units import thermal_energy


class Spring(Potential):
    """½ k (x − x₀)² of one particle in each direction; x₀ in nm along x; k in kJ/(mol nm²)."""

    def __init__(self, stiffness: float, center: float = 0.0, atoms: int = 1) -> None:
        super().__init__(atoms)
        self.stiffness, self.center = stiffness, center

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        away = positions.clone()
        away[:, 0, 0] -= self.center
        return 0.5 * self.stiffness * away.square().sum((1, 2)), -self.stiffness * away

    def log_z(self, temperature: float) -> float:
        """Over all Cartesian coordinates."""
        return 1.5 * self.n_atoms * math.log(2 * math.pi * thermal_energy(temperature) / self.stiffness)

    def frames(self, n: int, temperature: float, rng: np.random.Generator) -> Array:
        """(n, atoms, 3) independent ones."""
        x = rng.normal(size=(n, self.n_atoms, 3)) * math.sqrt(thermal_energy(temperature) / self.stiffness)
        x[:, 0, 0] += self.center
        return x


LENGTH, BOND, ANGLE, BEND = 0.15, 100_000.0, 2.0, 300.0


def chain(length: float = LENGTH, barrier: float = 6.0, tilt: float = 2.5, kelvin: float = 300.0) -> bf.MolecularSystem:
    """Four atoms on springs: the energy is a sum over internal coordinates.

    The torsion has a deep well (φ = 0) and, with the settings given, a shallow one 2 kT above, 6 kT of barrier between.
    """
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CHN", topology.addChain())
    atoms = [topology.addAtom(f"C{i}", app.Element.getBySymbol("C"), residue) for i in range(4)]
    bonds, angles, torsion = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for _ in atoms:
        system.addParticle(12.0)
    for i, j in pairwise(range(4)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, length, BOND)
    for i in range(2):
        angles.addAngle(i, i + 1, i + 2, ANGLE, BEND)
    torsion.addTorsion(0, 1, 2, 3, 2, math.pi, barrier)
    torsion.addTorsion(0, 1, 2, 3, 1, math.pi, tilt)
    for force in (bonds, angles, torsion):
        system.addForce(force)
    positions = [[0.13 * i, 0.08 * (i % 2), 0.05 * (i == 3)] for i in range(4)]
    return bf.MolecularSystem(topology, system, positions, temperature=kelvin, name="chain")


def chain_moments(
    temperature: float, length: float = LENGTH, barrier: float = 6.0, tilt: float = 2.5
) -> tuple[float, float, float]:
    """log Z, ⟨U⟩ in kJ/mol and the variance of U of `chain`, by quadrature over each coordinate."""
    kt = thermal_energy(temperature)
    r, theta, phi = (
        np.linspace(0.05, 0.25, 20_001),
        np.linspace(0.0, math.pi, 20_001),
        np.linspace(-math.pi, math.pi, 20_001),
    )
    terms = [
        (3, r, 0.5 * BOND * (r - length) ** 2, r**2),
        (2, theta, 0.5 * BEND * (theta - ANGLE) ** 2, np.sin(theta)),
        (1, phi, barrier * (1 + np.cos(2 * phi - math.pi)) + tilt * (1 + np.cos(phi - math.pi)), np.ones_like(phi)),
    ]
    log_z = mean = variance = 0.0
    for times, x, energy, measure in terms:
        weight = measure * np.exp(-energy / kt)
        z = np.trapezoid(weight, x)
        u = np.trapezoid(weight * energy, x) / z
        log_z, mean = log_z + times * math.log(z), mean + times * u
        variance += times * (np.trapezoid(weight * energy**2, x) / z - u**2)
    return log_z, mean, variance


def equilibrium(generator: bf.BoltzmannGenerator, n: int, seed: int) -> bf.Ensemble:
    """Independent frames of a generator's target: of n samples those that rejection leaves."""
    drawn = generator.sample(n, seed=seed)
    chance = np.log(np.random.default_rng(seed).random(n))  # another program's numbers than those of the samples
    kept = drawn[chance < drawn.log_weights - drawn.log_weights.max()]
    return bf.Ensemble(kept.positions, kept.energies, kept.temperature, topology=kept.topology)
