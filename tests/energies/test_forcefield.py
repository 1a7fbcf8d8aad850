"""Native energies and forces against OpenMM's Reference platform."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch
from openmm.app.internal import customgbforces

from boltzflow.energies import TorchPotential
from boltzflow.energies.forcefield.born_expressions import read_custom_gb
from boltzflow.errors import OptionError

from .conftest import FORCE_FIELDS, Array, clashing_frames, make_system, reference, thermal_frames
from .custom_systems import build

DTYPES = [torch.float64, torch.float32]
RELATIVE = {torch.float64: 1e-11, torch.float32: 1e-5}
"""Largest error of an energy as a share of Σ|terms|, of a force as a share of the frame's largest."""
THERMAL_PER_ATOM = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest error of a thermal frame's energy, kJ/mol per atom."""
MODELS = {
    "hct": customgbforces.GBSAHCTForce,
    "obc1": customgbforces.GBSAOBC1Force,
    "obc2": customgbforces.GBSAOBC2Force,
    "gbn": customgbforces.GBSAGBnForce,
    "gbn2": customgbforces.GBSAGBn2Force,
    "gbsa-obc": openmm.GBSAOBCForce,
}

# ACE-ALA-NME as in openmmtools' test system, nm.
OPENMMTOOLS_POSITIONS = [
    [0.2000001, 0.1, -1.3e-07], [0.2000001, 0.209, 1e-08], [0.1486264, 0.2453849, 0.0889824],
    [0.1486259, 0.2453852, -0.088982], [0.342742, 0.2640795, -3e-07], [0.439058, 0.1877406, -6.6e-07],
    [0.35553754, 0.39696488, -3.1e-07], [0.273312, 0.45561601, -1.3e-07], [0.48532621, 0.46139253, -4.3e-07],
    [0.5407596, 0.43155388, 0.08898152], [0.56613044, 0.42208425, -0.1232148], [0.51232615, 0.4521363, -0.21312016],
    [0.6630484, 0.47189354, -0.12057907], [0.58085401, 0.31408724, -0.1241385], [0.47126759, 0.61294185, 1.4e-07],
    [0.36006445, 0.66527027, 6.2e-07], [0.58460533, 0.68348833, 2.5e-07], [0.67370014, 0.6359162, -4e-08],
    [0.58460551, 0.82838837, 6.2e-07], [0.48185761, 0.86477349, 1.04e-06], [0.63597984, 0.86477313, 0.08898283],
    [0.635979, 0.86477354, -0.08898187],
]  # fmt: skip


def eager(system: openmm.System, **options: int) -> TorchPotential:
    return TorchPotential(system, compile=False, **options)


def sum_of_magnitudes(system: openmm.System, frames: Array) -> Array:
    """Σ|terms| (n,): the pairs of a NonbondedForce one by one, other forces as a whole (which is stricter)."""
    total = np.zeros(len(frames))
    for force in system.getForces():
        alone = openmm.System()
        for _ in range(system.getNumParticles()):
            alone.addParticle(1.0)
        alone.addForce(copy.deepcopy(force))
        total += np.abs(reference(alone, frames)[0])
    (nonbonded,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    pairs = {}
    atoms = [[v._value for v in nonbonded.getParticleParameters(i)] for i in range(nonbonded.getNumParticles())]
    for i, (q, s, e) in enumerate(atoms):
        for j in range(i):
            pairs[j, i] = (q * atoms[j][0], (s + atoms[j][1]) / 2, np.sqrt(e * atoms[j][2]))
    for index in range(nonbonded.getNumExceptions()):
        i, j, *values = nonbonded.getExceptionParameters(index)
        pairs[min(i, j), max(i, j)] = tuple(v._value for v in values)
    for (i, j), (q, s, e) in pairs.items():
        r = np.linalg.norm(frames[:, i] - frames[:, j], axis=1)
        total += 4 * e * ((s / r) ** 12 + (s / r) ** 6) + 138.935 * abs(q) / r
    return total


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FORCE_FIELDS)
@pytest.mark.parametrize("kind", ["thermal", "clashing"])
def test_agrees_with_reference_platform(name: str, kind: str, dtype: torch.dtype) -> None:
    frames = thermal_frames() if kind == "thermal" else clashing_frames()
    system = make_system(name)
    expected, expected_forces = reference(system, frames)
    energy, forces = eager(system).energy_and_forces(torch.tensor(frames, dtype=dtype))
    assert energy.dtype == forces.dtype == dtype
    error = np.abs(energy.double().numpy() - expected)
    assert np.all(error <= RELATIVE[dtype] * sum_of_magnitudes(system, frames))
    if kind == "thermal":
        assert error.max() <= THERMAL_PER_ATOM[dtype] * 22
    force_error = np.abs(forces.double().numpy() - expected_forces).max((1, 2))
    assert np.all(force_error <= RELATIVE[dtype] * np.abs(expected_forces).max((1, 2)))


@pytest.mark.parametrize(("name", "expected"), [("obc1", -138.9697), ("vacuum", -88.0886)])
def test_published_energy(name: str, expected: float) -> None:
    # The published numbers belong to a prmtop whose parameters are rounded a little differently.
    energy = eager(make_system(name)).energy(torch.tensor([OPENMMTOOLS_POSITIONS], dtype=torch.float64))
    assert energy.item() == pytest.approx(expected, abs=3e-4)


def two_atoms(model: str) -> openmm.System:
    """A large and a small atom under a Born model alone, so that nothing hides its branches."""
    system = openmm.System()
    force = MODELS[model]()
    for charge, radius, screen, extra in ((0.4, 0.19, 1.3, [0.8, 0.8, 0.4]), (-0.5, 0.11, 0.8, [0.5, 0.3, 0.2])):
        system.addParticle(1.0)
        if model == "gbsa-obc":
            force.addParticle(charge, radius, screen)
        else:
            force.addParticle([charge, radius, screen, *(extra if model == "gbn2" else [])])
    if model != "gbsa-obc":
        force.finalize()
    system.addForce(force)
    return system


@pytest.mark.parametrize("model", MODELS)
def test_born_model_at_every_distance(model: str) -> None:
    frames = np.zeros((400, 2, 3))
    frames[:, 1, 0] = np.linspace(0.0021, 1.2, 400)  # from one atom inside the other to out of the neck's reach
    system = two_atoms(model)
    expected, expected_forces = reference(system, frames)
    energy, forces = eager(system).energy_and_forces(torch.tensor(frames))
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(forces.numpy(), expected_forces, rtol=1e-9, atol=1e-9)


def test_torsions_of_any_phase_and_multiplicity() -> None:
    system = openmm.System()
    force = openmm.PeriodicTorsionForce()
    for _ in range(5):
        system.addParticle(1.0)
    for n, phase in ((1, 0.3), (2, -1.1), (3, 2.0), (6, 0.7)):
        force.addTorsion(0, 1, 2, 3, n, phase, 1.0 + n)
        force.addTorsion(4, 2, 1, 0, n, phase, 2.0 * n)
    force.addTorsion(3, 2, 1, 0, 2, 0.4, 5.0)  # the first one, read backwards
    system.addForce(force)
    frames = 0.2 * np.random.default_rng(0).standard_normal((50, 5, 3))
    expected, expected_forces = reference(system, frames)
    energy, forces = eager(system).energy_and_forces(torch.tensor(frames))
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(forces.numpy(), expected_forces, rtol=1e-8, atol=1e-8)


def test_straight_angle_is_finite() -> None:
    system = openmm.System()
    angle = openmm.HarmonicAngleForce()
    for _ in range(3):
        system.addParticle(1.0)
    angle.addAngle(0, 1, 2, 2.0, 100.0)
    system.addForce(angle)
    straight = torch.tensor([[[-0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]])
    energy, forces = eager(system).energy_and_forces(straight)
    assert energy.item() == pytest.approx(50 * (np.pi - 2) ** 2, rel=1e-6)
    assert torch.isfinite(forces).all()


@pytest.mark.usefixtures("compiler")
def test_compiled_equals_eager(obc1: openmm.System, thermal: Array) -> None:
    frames = torch.tensor(thermal, dtype=torch.float32)
    potential = TorchPotential(obc1, chunk_size=48)
    expected, expected_forces = eager(obc1).energy_and_forces(frames)
    for batch in (1, 2, 47, 48, 49, 120):  # one compilation serves them all
        energy, forces = potential.energy_and_forces(frames[:batch])
        torch.testing.assert_close(energy, expected[:batch], rtol=1e-5, atol=2e-3)
        torch.testing.assert_close(forces, expected_forces[:batch], rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("chunk_size", [1, 7, 120, 1000])
def test_independent_of_chunks(obc1: openmm.System, thermal: Array, chunk_size: int) -> None:
    frames = torch.tensor(thermal)
    energy, forces = eager(obc1, chunk_size=chunk_size).energy_and_forces(frames)
    expected, expected_forces = eager(obc1).energy_and_forces(frames)
    torch.testing.assert_close(energy, expected, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(forces, expected_forces, rtol=1e-12, atol=1e-8)


def test_refuses_impossible_chunks(obc1: openmm.System) -> None:
    with pytest.raises(OptionError, match="chunk size of at least 1; got 0"):
        eager(obc1, chunk_size=0)


def test_copies_and_pickles_without_compiled_code(vacuum: openmm.System, thermal: Array) -> None:
    potential = eager(vacuum)
    frames = torch.tensor(thermal[:3])
    expected = potential.energy(frames)
    for twin in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        torch.testing.assert_close(twin.energy(frames), expected, rtol=0, atol=0)
    assert not potential.state_dict()


def test_module_dtype_does_not_change_precision(vacuum: openmm.System, thermal: Array) -> None:
    frames = torch.tensor(thermal[:3])
    torch.testing.assert_close(eager(vacuum).float().energy(frames), eager(vacuum).energy(frames), rtol=0, atol=0)


def test_a_born_model_that_differs_in_one_constant_only_is_not_taken_for_a_known_one() -> None:
    force = customgbforces.GBSAOBC1Force()
    force.addParticle([0.3, 0.15, 0.8])
    force.finalize()
    assert read_custom_gb(force, 1) is not None
    changes = {
        "radius": lambda f: f.setComputedValueParameters(
            1, *_replaced(f.getComputedValueParameters(1), "0.8*psi", "0.9*psi")
        ),
        "integral": lambda f: f.setComputedValueParameters(
            0, *_replaced(f.getComputedValueParameters(0), "r+sr2", "r-sr2")
        ),
        "constant": lambda f: f.setEnergyTermParameters(
            0, *_replaced(["", *f.getEnergyTermParameters(0)], "78.5", "4")[1:]
        ),
        "twice": lambda f: f.addEnergyTerm(*f.getEnergyTermParameters(0)),
    }
    for change in changes.values():
        other = copy.deepcopy(force)
        change(other)
        assert read_custom_gb(other, 1) is None


def _replaced(parts: Sequence[Any], old: str, new: str) -> list[Any]:
    name, expression, kind = parts
    assert old in expression
    return [name, expression.replace(old, new), kind]


def test_quantities_of_the_force_field_are_read_in_their_units() -> None:
    force = openmm.HarmonicBondForce()
    force.addBond(0, 1, 1.0 * u.angstrom, 10.0 * u.kilocalorie_per_mole / u.angstrom**2)
    frames = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]], dtype=torch.float64)
    assert eager(build(2, force)).energy(frames).item() == pytest.approx(0.5 * 4184.0 * 0.2**2)
