"""Every kind of force that is translated, against OpenMM's Reference platform."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import openmm
import pytest
import torch

from boltzflow.energies import TorchPotential
from boltzflow.energies.forcefield import TRANSLATORS
from boltzflow.errors import OptionError, UnsupportedForceError

from .conftest import reference
from .custom_systems import SYSTEMS, build, collective_variables, custom_bond, nonbonded, virtual_sites


def frames_for(name: str, n: int = 60) -> np.ndarray:
    make, spread = SYSTEMS[name]
    return spread * np.random.default_rng(0).standard_normal((n, make().getNumParticles(), 3))


def real_particles(system: openmm.System) -> list[int]:
    return [i for i in range(system.getNumParticles()) if not system.isVirtualSite(i)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_agrees_with_reference_platform(name: str) -> None:
    system, frames = SYSTEMS[name][0](), frames_for(name)
    expected, expected_forces = reference(system, frames)
    energy, forces = TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames))
    real = real_particles(system)
    scale, force_scale = np.abs(expected), np.abs(expected_forces[:, real]).max((1, 2))
    assert (np.abs(energy.numpy() - expected) <= 1e-11 * scale + 1e-11).all()
    error = np.abs(forces.numpy() - expected_forces)[:, real].max((1, 2))
    assert (error <= 1e-10 * force_scale + 1e-11).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_forces_and_second_derivatives_are_those_of_the_energy(name: str) -> None:
    frames = torch.tensor(frames_for(name, 4), requires_grad=True)
    potential = TorchPotential(SYSTEMS[name][0](), compile=False)
    energy = potential.differentiable_energy(frames)
    (gradient,) = torch.autograd.grad(energy.sum(), frames, create_graph=True)
    _, forces = potential.energy_and_forces(frames)
    largest = gradient.detach().abs().max()
    torch.testing.assert_close(forces, -gradient.detach(), rtol=1e-9, atol=1e-9 * float(largest))
    if not gradient.requires_grad:
        return
    direction = torch.randn(frames.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (curvature,) = torch.autograd.grad(gradient, frames, direction)
    step = 1e-6
    ahead, behind = (potential.energy_and_forces(frames.detach() + s * direction)[1] for s in (step, -step))
    finite = (behind - ahead) / (2 * step)
    assert (curvature - finite).abs().median() <= 1e-5 * finite.abs().max()


@pytest.mark.usefixtures("compiler")
def test_compiles_whole() -> None:
    system = virtual_sites()
    for name in ("CMAP", "custom torsion", "any custom GB"):
        other = SYSTEMS[name][0]()
        force = copy.deepcopy(other.getForce(0))
        while isinstance(force, openmm.CustomGBForce) and force.getNumParticles() < system.getNumParticles():
            force.addParticle([0.1])
        system.addForce(force)
    frames = torch.tensor(frames_for("virtual sites"))
    fast = TorchPotential(system, chunk_size=32).energy_and_forces(frames)
    slow = TorchPotential(system, compile=False).energy_and_forces(frames)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


@pytest.mark.parametrize("name", ["tables", "virtual sites", "any custom GB"])
def test_single_precision_and_copies(name: str) -> None:
    frames = torch.tensor(frames_for(name))
    potential = TorchPotential(SYSTEMS[name][0](), compile=False)
    expected = potential.energy(frames)
    single = potential.energy(frames.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    for twin in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        torch.testing.assert_close(twin.energy(frames), expected, rtol=0, atol=0)


def test_virtual_sites_are_placed_wherever_they_were() -> None:
    system = virtual_sites()
    frames = torch.tensor(frames_for("virtual sites"))
    moved = frames.clone()
    moved[:, [2, 3, 4, 6]] += 1.0
    potential = TorchPotential(system, compile=False)
    energy, forces = potential.energy_and_forces(frames)
    torch.testing.assert_close(potential.energy(moved), energy, rtol=0, atol=0)
    assert not forces[:, [2, 3, 4, 6]].any()


# -- global parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name"),
    [(custom_bond, "g"), (lambda: nonbonded("NoCutoff", offsets=True), "scale"), (collective_variables, "s")],
)
def test_global_parameters_may_be_chosen(make: object, name: str) -> None:
    system = make()  # type: ignore[operator]
    frames = 0.4 * np.random.default_rng(0).standard_normal((5, system.getNumParticles(), 3))
    context = openmm.Context(system, openmm.VerletIntegrator(0.1), openmm.Platform.getPlatformByName("Reference"))
    context.setParameter(name, 1.7)
    expected = []
    for frame in frames:
        context.setPositions(frame)
        expected.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
    chosen = TorchPotential(system, parameters={name: 1.7}, compile=False).energy(torch.tensor(frames))
    np.testing.assert_allclose(chosen.numpy(), expected, rtol=1e-11)
    assert not np.allclose(TorchPotential(system, compile=False).energy(torch.tensor(frames)).numpy(), expected)


def test_unknown_global_parameters_are_refused() -> None:
    with pytest.raises(OptionError, match=r"Expected global parameters of the forces \(g\); got 'lambda'"):
        TorchPotential(custom_bond(), parameters={"lambda": 1.0})


# -- refusals ------------------------------------------------------------------------------------------


def ewald() -> openmm.System:
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(force.PME)
    return build(0, force)


def barostat() -> openmm.System:
    return build(1, openmm.MonteCarloBarostat(1.0, 300.0))


def unknown_name() -> openmm.System:
    force = openmm.CustomBondForce("k*r")
    force.addBond(0, 1, [])
    return build(2, force)


def long_range() -> openmm.System:
    force = openmm.CustomNonbondedForce("r^-6")
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setUseLongRangeCorrection(True)
    return build(0, force)


def many_particles() -> openmm.System:
    return build(3, openmm.CustomManyParticleForce(3, "1"))


def drude() -> openmm.System:
    return build(1, openmm.DrudeForce())


def sites_of_sites() -> openmm.System:
    system = virtual_sites()
    system.setVirtualSite(6, openmm.TwoParticleAverageSite(0, 2, 0.5, 0.5))
    return system


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ewald, r"NonbondedForce .* sums over periodic images \(Ewald, PME, LJPME\)"),
        (barostat, "MonteCarloBarostat .* changes the volume of the box"),
        (unknown_name, "CustomBondForce .* unknown name k"),
        (long_range, "CustomNonbondedForce .* long-range correction"),
        (many_particles, "CustomManyParticleForce .* only HarmonicBondForce, .* have one"),
        (drude, "DrudeForce .* self-consistent"),
        (sites_of_sites, "site 6 depends on site 2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_refuses_what_it_cannot_translate(make: object, message: str) -> None:
    with pytest.raises(UnsupportedForceError, match=message):
        TorchPotential(make())  # type: ignore[operator]


def test_every_translator_names_a_force_of_openmm() -> None:
    assert all(issubclass(getattr(openmm, name), openmm.Force) for name in TRANSLATORS)


def test_ignores_what_has_no_energy_and_empty_forces() -> None:
    kinds = ["HarmonicBond", "HarmonicAngle", "PeriodicTorsion", "RBTorsion", "CMAPTorsion"]
    empty = [getattr(openmm, f"{kind}Force")() for kind in kinds]
    custom = [openmm.CustomBondForce("r"), openmm.CustomExternalForce("x"), openmm.CustomCentroidBondForce(1, "x1")]
    system = build(2, openmm.CMMotionRemover(), openmm.AndersenThermostat(300.0, 1.0), *empty, *custom)
    energy, forces = TorchPotential(system, compile=False).energy_and_forces(torch.randn(3, 2, 3))
    assert not energy.any()
    assert not forces.any()
