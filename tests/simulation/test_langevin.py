"""Langevin dynamics against exact stationary distributions and OpenMM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import openmm
import openmm.unit as u
import pytest
import scipy.linalg
import torch
from openmm import app
from torch import Tensor

import boltzflow as bf
from boltzflow.energies import TorchPotential
from boltzflow.errors import OptionError, ShapeError
from boltzflow.simulation import Langevin, NamedTorsion, Particles, minimize, named_torsions, torsion_values
from boltzflow.units import GAS_CONSTANT

from .conftest import DoubleWell, Springs, dipeptide, with_constraints, z_score


def harmonic_moments(k: float, mass: float, timestep: float, friction: float, kt: float) -> tuple[float, float]:
    """⟨x²⟩ and ⟨v²⟩ at which BAOAB is stationary: its steps are linear, so the covariance solves S = MSMᵀ + Q."""
    kick = np.array([[1.0, 0.0], [-0.5 * timestep * k / mass, 1.0]])
    drift = np.array([[1.0, 0.5 * timestep], [0.0, 1.0]])
    decay = math.exp(-friction * timestep)
    memory = np.diag([1.0, decay])
    after = kick @ drift
    noise = after @ np.diag([0.0, (1 - decay**2) * kt / mass]) @ after.T
    covariance = scipy.linalg.solve_discrete_lyapunov(after @ memory @ drift @ kick, noise)
    return covariance[0, 0], covariance[1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_harmonic_moments_are_those_of_the_scheme(dtype: torch.dtype, random: torch.Generator) -> None:
    """4096 replicas of two particles; ω·dt is 0.5 and 1.3, where ⟨v²⟩ is off by 6 % and 42 % and ⟨x²⟩ exact."""
    masses, timestep, kt = [4.0, 10.0], 0.002, GAS_CONSTANT * 400.0
    stiffness = [m * (w / timestep) ** 2 for m, w in zip(masses, (0.5, 1.3), strict=True)]
    dynamics = Langevin(Springs(stiffness), Particles(masses), 400.0, friction=100.0, timestep=timestep, compile=False)
    state = dynamics.run(dynamics.start(torch.zeros(4096, 2, 3, dtype=dtype), random), 100, random)
    assert state.positions.dtype == dtype
    assert not state.lost.any()
    for i, (k, mass) in enumerate(zip(stiffness, masses, strict=True)):
        x_square, v_square = harmonic_moments(k, mass, timestep, 100.0, kt)
        assert x_square == pytest.approx(kt / k, rel=1e-9)
        assert v_square < 0.95 * kt / mass
        assert abs(z_score(state.positions[:, i].double().square().flatten(), x_square)) < 4.5
        assert abs(z_score(state.velocities[:, i].double().square().flatten(), v_square)) < 4.5


def test_each_replica_has_its_own_temperature(random: torch.Generator) -> None:
    """Kinetic and configurational temperature of 2 × 2000 replicas of one particle; dt is small."""
    kelvin = torch.tensor([100.0, 900.0]).repeat_interleave(2000)
    dynamics = Langevin(Springs([500.0]), Particles([10.0]), kelvin, friction=10.0, timestep=0.01, compile=False)
    state = dynamics.run(dynamics.start(torch.zeros(4000, 1, 3), random), 400, random)
    configurational = 500.0 * state.positions.double().square().sum((1, 2)) / (3 * GAS_CONSTANT)
    for slot, expected in ((slice(2000), 100.0), (slice(2000, None), 900.0)):
        assert abs(z_score(dynamics.kinetic_temperatures(state)[slot].double(), expected)) < 4.5
        assert abs(z_score(configurational[slot], expected)) < 4.5


def test_without_friction_energy_is_conserved(random: torch.Generator) -> None:
    dynamics = Langevin(DoubleWell(), Particles([20.0]), 300.0, friction=0.0, timestep=0.0005, compile=False)
    start = torch.tensor([[[0.15, 0.0, 0.0]]], dtype=torch.float64).repeat(16, 1, 1)
    first = dynamics.start(start, random)
    last = dynamics.run(first, 2000)
    before, after = (s.energies + dynamics.kinetic_energies(s) for s in (first, last))
    assert not torch.allclose(first.energies, last.energies, atol=0.1)
    torch.testing.assert_close(after, before, rtol=0, atol=2e-3)


def test_constrained_chain_has_the_right_angle(random: torch.Generator) -> None:
    """A free chain of three with stiff bonds: p(cos θ) ∝ √det(J M⁻¹ Jᵀ) ∝ √((1 + m₂/m₁)² − cos²θ); n = 2048."""
    masses, pairs = [10.0, 3.0, 10.0], [(0, 1), (1, 2)]
    bent = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.1, 0.0]], dtype=torch.float64)
    dynamics = Langevin(
        TorchPotential(with_constraints(masses, pairs, [0.1, 0.1]), compile=False),
        Particles(masses, pairs, [0.1, 0.1], bent),
        300.0,
        friction=20.0,
        timestep=0.005,
        compile=False,
    )
    state = dynamics.run(dynamics.start(bent.expand(2048, 3, 3), random), 200, random)
    bonds = state.positions[:, [0, 2]] - state.positions[:, [1]]
    torch.testing.assert_close(bonds.norm(dim=2), torch.full((2048, 2), 0.1).double(), rtol=1e-7, atol=0)
    cosine = (bonds[:, 0] * bonds[:, 1]).sum(1) / 0.01
    grid = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    density = (1.3**2 - grid.square()).sqrt()
    expected = float((density * grid.square()).sum() / density.sum())
    assert expected < 0.31  # 1/3 without the mass metric
    assert abs(z_score(cosine.square(), expected)) < 4.5
    assert abs(z_score(cosine, 0.0)) < 4.5
    assert dynamics.particles.degrees_of_freedom == 7
    assert abs(z_score(dynamics.kinetic_temperatures(state), 300.0)) < 4.5


@pytest.mark.parametrize("constraints", ["none", "HBonds"])
def test_molecule_against_openmm(constraints: str, random: torch.Generator) -> None:
    """ACE-ALA-NME in vacuum at 900 K: energies and kinetic temperature against LangevinMiddleIntegrator.

    Ours: 64 replicas, 4 ps. OpenMM: one run of 60 ps, errors from its 12 blocks of 5 ps.
    """
    system, kelvin, timestep = dipeptide(constraints), 900.0, 0.001 if constraints == "none" else 0.002
    energies, temperatures = openmm_run(system.openmm_system, system.positions, kelvin, timestep, 60.0, 12)
    dynamics = Langevin(
        system.potential(backend="torch", compile=False),
        Particles.of(system),
        kelvin,
        friction=5.0,
        timestep=timestep,
        compile=False,
    )
    state = dynamics.start(torch.tensor(system.positions).float().expand(64, -1, -1), random)
    state = dynamics.run(state, round(4.0 / timestep), random)
    assert not state.lost.any()
    for ours, theirs in ((state.energies, energies), (dynamics.kinetic_temperatures(state), temperatures)):
        ours = ours.double()
        error = math.hypot(float(ours.std()) / math.sqrt(len(ours)), theirs.std(ddof=1) / math.sqrt(len(theirs)))
        assert abs(float(ours.mean()) - theirs.mean()) / error < 4.5


@pytest.mark.slow
def test_conformations_against_openmm(random: torch.Generator) -> None:
    """The dipeptide in implicit water at 900 K: energy, kinetic temperature, and the shares of nine regions of φ, ψ.

    Ours: 256 replicas, 20 ps. OpenMM on its CPU platform: 400 ps, errors from 20 blocks.
    """
    system, kelvin = bf.load_system("alanine_dipeptide"), 900.0
    torsions = named_torsions(system)
    theirs = openmm_run(system.openmm_system, system.positions, kelvin, 0.001, 400.0, 20, "CPU", torsions)
    dynamics = Langevin.of(system, temperature=kelvin, friction=5.0, timestep=0.001)
    state = dynamics.start(torch.tensor(system.positions).float().expand(256, -1, -1), random)
    state = dynamics.run(state, 20_000, random)
    assert not state.lost.any()
    columns = [state.energies, dynamics.kinetic_temperatures(state), *regions(state.positions, torsions).unbind(1)]
    for ours, blocks in zip(columns, theirs, strict=True):
        error = math.hypot(float(ours.double().std()) / 16, blocks.std(ddof=1) / math.sqrt(20))
        assert abs(float(ours.double().mean()) - blocks.mean()) / error < 4.5


def regions(positions: Tensor, torsions: Sequence[NamedTorsion]) -> Tensor:
    """Which of nine equal squares of the plane of φ and ψ each frame is in, (batch, 9)."""
    thirds = ((torsion_values(positions, torsions) + math.pi) / (2 * math.pi / 3)).long().clamp(0, 2)
    return torch.nn.functional.one_hot(3 * thirds[:, 0] + thirds[:, 1], 9).double()


def openmm_run(
    system: openmm.System,
    positions: np.ndarray,
    kelvin: float,
    timestep: float,
    picoseconds: float,
    blocks: int,
    platform: str = "Reference",
    torsions: Sequence[NamedTorsion] = (),
) -> np.ndarray:
    """Block averages, one row each, of potential energy, kinetic temperature, regions; the first twentieth left out."""
    integrator = openmm.LangevinMiddleIntegrator(kelvin, 5.0, timestep)
    integrator.setRandomNumberSeed(7)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(kelvin, 3)
    n = system.getNumParticles()
    masses = np.array([system.getParticleMass(i).value_in_unit(u.dalton) for i in range(n)])
    freedom = 3 * n - system.getNumConstraints()
    per_frame = 50
    frames = blocks * round(picoseconds / blocks / timestep / per_frame)
    integrator.step(frames * per_frame // 20)
    found = []
    for _ in range(frames):
        integrator.step(per_frame)
        state = context.getState(getEnergy=True, getVelocities=True, getPositions=True)
        # The kinetic energy that OpenMM gives is shifted by half a step; that of its stored velocities is not.
        v = state.getVelocities(asNumpy=True).value_in_unit(u.nanometer / u.picosecond)
        kinetic = 0.5 * float((masses[:, None] * v**2).sum())
        row = [state.getPotentialEnergy().value_in_unit(u.kilojoule_per_mole), 2 * kinetic / (GAS_CONSTANT * freedom)]
        if torsions:
            x = torch.tensor(state.getPositions(asNumpy=True).value_in_unit(u.nanometer))[None]
            row += regions(x, torsions)[0].tolist()
        found.append(row)
    return np.array(found).reshape(blocks, -1, len(found[0])).mean(1).T


@pytest.mark.slow
def test_hydrogen_masses_change_nothing_but_speed(random: torch.Generator) -> None:
    """The mean energy with hydrogens of 3 dalton and 2 fs against real masses and 0.5 fs; 96 replicas each."""
    system = dipeptide()
    potential = system.potential(backend="torch", compile=False)
    start = torch.tensor(system.positions).float().expand(96, -1, -1)
    found = []
    for mass, timestep in ((None, 0.0005), (3.0, 0.002)):
        particles = Particles.of(system, mass)
        assert float(particles.masses.sum()) == pytest.approx(float(Particles.of(system).masses.sum()))
        dynamics = Langevin(potential, particles, 900.0, friction=5.0, timestep=timestep, compile=False)
        found.append(dynamics.run(dynamics.start(start, random), round(4.0 / timestep), random).energies.double())
    difference = float(found[0].mean() - found[1].mean())
    assert abs(difference) / math.sqrt(sum(float(e.var()) / len(e) for e in found)) < 4.5


def test_same_seed_same_numbers_and_runs_can_be_cut() -> None:
    dynamics = Langevin(DoubleWell(), Particles([20.0]), 300.0, compile=False)
    ends = []
    for parts in ([20], [20], [10, 10]):
        random = torch.Generator().manual_seed(5)
        state = dynamics.start(torch.zeros(8, 1, 3), random)
        for steps in parts:
            state = dynamics.run(state, steps, random)
        ends.append(state.positions)
    assert torch.equal(ends[0], ends[1])
    torch.testing.assert_close(ends[0], ends[2], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("compiler")
def test_compiled_and_eager_agree() -> None:
    states = []
    for compile in (True, False):
        random = torch.Generator().manual_seed(5)
        dynamics = Langevin(DoubleWell(), Particles([20.0]), 300.0, compile=compile)
        state = dynamics.start(torch.zeros(64, 1, 3, dtype=torch.float64), random)
        states.append(dynamics.run(state, 20, random))
    torch.testing.assert_close(states[0].positions, states[1].positions, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(states[0].velocities, states[1].velocities, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fault", [math.nan, 1e4])
def test_an_exploded_replica_is_marked_and_leaves_others_alone(fault: float) -> None:
    dynamics = Langevin(DoubleWell(), Particles([20.0]), 300.0, friction=0.1, compile=False)
    ends = []
    for value in (0.0, fault):
        random = torch.Generator().manual_seed(2)
        state = dynamics.start(torch.zeros(4, 1, 3), random)
        state.velocities[2] += value
        ends.append(dynamics.run(state, 50, random))
    healthy, exploded = ends
    assert not healthy.lost.any()
    assert exploded.lost.tolist() == [False, False, True, False]
    others = [0, 1, 3]
    assert torch.equal(healthy.positions[others], exploded.positions[others])
    later = dynamics.run(exploded, 1, torch.Generator().manual_seed(0))
    assert later.lost.tolist() == [False, False, True, False]


def test_virtual_sites_are_in_their_places_and_move_their_atoms(random: torch.Generator) -> None:
    """Two atoms on a spring and a charge between them, drawn to a fixed charge: the energy is conserved."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("X", topology.addChain())
    charges, atoms = openmm.NonbondedForce(), []
    for mass, charge in ((12.0, 0.0), (4.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        atoms.append(topology.addAtom("C", app.element.carbon, residue))
        system.addParticle(mass)
        charges.addParticle(charge, 0.1, 0.0)
    topology.addBond(*atoms[:2])
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.75, 0.25))
    spring = openmm.HarmonicBondForce()
    spring.addBond(0, 1, 0.1, 2e4)
    for force in (charges, spring):
        system.addForce(force)
    start = [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [9.0, 9.0, 9.0], [0.5, 0.2, 0.0]]
    molecule = bf.MolecularSystem(topology, system, start)
    potential = molecule.potential("torch", compile=False)
    dynamics = Langevin.of(molecule, potential, friction=0.0, timestep=0.0002, compile=False)
    assert dynamics.particles.degrees_of_freedom == 6
    first = dynamics.start(torch.tensor([start], dtype=torch.float64).repeat(8, 1, 1), random)
    last = dynamics.run(first, 500)
    for state in (first, last):
        x = state.positions
        torch.testing.assert_close(x[:, 2], 0.75 * x[:, 0] + 0.25 * x[:, 1])
        torch.testing.assert_close(x[:, 3], torch.tensor(start[3]).double().expand(8, 3))
    assert (first.energies - last.energies).abs().min() > 1e-3
    before, after = (s.energies + dynamics.kinetic_energies(s) for s in (first, last))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-2)
    calm = minimize(dynamics.potential, first.positions, dynamics.particles, max_steps=1).positions
    torch.testing.assert_close(calm[:, 2], 0.75 * calm[:, 0] + 0.25 * calm[:, 1])


def test_massless_particles_stay() -> None:
    dynamics = Langevin(Springs([100.0, 100.0]), Particles([5.0, 0.0]), 300.0, compile=False)
    start = torch.ones(3, 2, 3)
    state = dynamics.run(dynamics.start(start), 20)
    assert torch.equal(state.positions[:, 1], start[:, 1])
    assert not torch.equal(state.positions[:, 0], start[:, 0])
    assert dynamics.particles.degrees_of_freedom == 3


def test_quantities_are_taken() -> None:
    dynamics = Langevin(
        Springs([1.0]), Particles([1.0]), 300.0 * u.kelvin, friction=2.0 / u.nanosecond, timestep=2.0 * u.femtosecond
    )
    assert dynamics.timestep == pytest.approx(0.002)
    assert dynamics.friction == pytest.approx(0.002)


def test_refusals() -> None:
    springs, one = Springs([1.0]), Particles([1.0])
    with pytest.raises(ShapeError, match="Expected 1 particles, as in the potential; got 2"):
        Langevin(springs, Particles([1.0, 1.0]))
    with pytest.raises(OptionError, match=r"time step > 0 in ps; got 1, -0\.001"):
        Langevin(springs, one, timestep=-0.001)
    with pytest.raises(OptionError, match=r"positive temperature .* K; got -3"):
        Langevin(springs, one, torch.tensor([300.0, -3.0]))
    with pytest.raises(ShapeError, match=r"Expected positions \(batch, 1, 3\) in nm; got \(1, 2, 3\)"):
        Langevin(springs, one).start(torch.zeros(1, 2, 3))
    with pytest.raises(ShapeError, match="one for each of 3 replicas; got 2"):
        Langevin(springs, one, [300.0, 400.0]).start(torch.zeros(3, 1, 3))
    with pytest.raises(OptionError, match=r"hydrogen mass of 7 dalton leaves -\d\.\d+ for ACE1-CH3"):
        Particles.of(dipeptide(), hydrogen_mass=7.0)
