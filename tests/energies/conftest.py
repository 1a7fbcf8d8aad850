"""ACE-ALA-NME in several force fields, its thermal and clashing structures, and OpenMM's answers."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as u
import pytest
from openmm import app

from boltzflow.arrays import Array

PDB = Path(__file__).parents[2] / "systems" / "alanine_dipeptide" / "topology.pdb"
FORCE_FIELDS: dict[str, tuple[list[str], dict[str, object]]] = {
    "vacuum": (["amber96.xml"], {}),
    "hct": (["amber96.xml", "implicit/hct.xml"], {}),
    "obc1": (["amber96.xml", "implicit/obc1.xml"], {}),
    "obc2": (["amber96.xml", "implicit/obc2.xml"], {}),
    "obc2-salt": (["amber96.xml", "implicit/obc2.xml"], {"implicitSolventKappa": 1.2, "soluteDielectric": 2.0}),
    "gbn": (["amber96.xml", "implicit/gbn.xml"], {}),
    "gbn2": (["amber96.xml", "implicit/gbn2.xml"], {}),
    "gbn2-no-surface": (["amber96.xml", "implicit/gbn2.xml"], {"sasaMethod": None}),
    "gbsa-obc": (["amber96.xml", "amber96_obc.xml"], {}),
}


@functools.cache
def dipeptide() -> app.PDBFile:
    return app.PDBFile(str(PDB))


@functools.cache
def make_system(name: str) -> openmm.System:
    files, options = FORCE_FIELDS[name]
    return app.ForceField(*files).createSystem(dipeptide().topology, constraints=None, **options)


def reference(system: openmm.System, frames: Array) -> tuple[Array, Array]:
    """Energies (n,) kJ/mol and forces (n, N, 3) kJ/(mol nm) of OpenMM's Reference platform."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies, forces = [], []
    for frame in frames:
        context.setPositions(frame)
        context.computeVirtualSites()
        state = context.getState(getEnergy=True, getForces=True)
        energies.append(state.getPotentialEnergy().value_in_unit(u.kilojoule_per_mole))
        forces.append(state.getForces(asNumpy=True).value_in_unit(u.kilojoule_per_mole / u.nanometer))
    return np.array(energies), np.array(forces)


@functools.cache
def thermal_frames() -> Array:
    """120 frames of dynamics in vacuum, half at 300 K, half at 1200 K, exact in float32."""
    system = make_system("vacuum")
    platform = openmm.Platform.getPlatformByName("Reference")
    frames = []
    for temperature in (300.0, 1200.0):
        integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.0005)
        integrator.setRandomNumberSeed(1)
        context = openmm.Context(system, integrator, platform)
        context.setPositions(dipeptide().positions)
        context.setVelocitiesToTemperature(temperature, 2)
        for _ in range(60):
            integrator.step(50)
            state = context.getState(getPositions=True)
            frames.append(state.getPositions(asNumpy=True).value_in_unit(u.nanometer))
    return np.array(frames).astype(np.float32).astype(np.float64)


@functools.cache
def clashing_frames() -> Array:
    """120 distorted frames, in half of which one atom sits 0.01 to 0.06 nm from another; exact in float32."""
    rng = np.random.default_rng(3)
    frames = thermal_frames() + rng.uniform(0.01, 0.08, (120, 1, 1)) * rng.standard_normal((120, 22, 3))
    for frame in frames[::2]:
        i, j = rng.choice(22, 2, replace=False)
        direction = rng.standard_normal(3)
        frame[i] = frame[j] + rng.uniform(0.01, 0.06) * direction / np.linalg.norm(direction)
    return frames.astype(np.float32).astype(np.float64)


@pytest.fixture(scope="session")
def obc1() -> openmm.System:
    return make_system("obc1")


@pytest.fixture(scope="session")
def vacuum() -> openmm.System:
    return make_system("vacuum")


@pytest.fixture(scope="session")
def thermal() -> Array:
    return thermal_frames()


@pytest.fixture(scope="session")
def clashing() -> Array:
    return clashing_frames()
