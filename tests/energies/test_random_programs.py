"""Random expressions in every custom force against OpenMM's Reference platform, at random and at odd points."""

from __future__ import annotations

import copy

import numpy as np
import openmm
import pytest
import torch

from boltzflow.energies import TorchPotential

from .conftest import Array, reference
from .custom_systems import build
from .random_programs import FORCES, N, random_system

_ROUNDING = 1e-13


@np.errstate(all="ignore")
def compare(system: openmm.System, frames: Array, text: str) -> int:
    """Energies and forces wherever OpenMM's are finite; returns how many frames had both."""
    energy, forces = (t.numpy() for t in TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames)))
    expected, expected_forces = reference(system, frames)
    noise = np.random.default_rng(0).standard_normal(frames.shape)
    shaken, shaken_forces = reference(system, frames * (1.0 + _ROUNDING * noise))
    # What OpenMM itself makes of rounded positions: an expression may be of any condition.
    allowed = 1e-9 * (1.0 + np.abs(expected)) + 1e3 * np.abs(shaken - expected)
    changes = np.abs(shaken_forces - expected_forces).max((1, 2), initial=0.0)
    largest = np.abs(expected_forces).max((1, 2))
    force_allowed = 1e-9 * (1.0 + largest) + 1e3 * changes
    whole = np.isfinite(expected) & np.isfinite(expected_forces).all((1, 2))
    decided = whole & np.isfinite(allowed) & np.isfinite(force_allowed) & (largest < 1e100)
    assert (np.isfinite(energy) <= np.isfinite(expected)).all(), text
    assert (energy[~np.isfinite(energy)] == np.inf).all(), text
    assert not forces[~np.isfinite(energy)].any(), text
    assert (np.abs(energy - expected) <= allowed)[decided].all(), text
    assert (np.abs(forces - expected_forces).max((1, 2)) <= force_allowed)[decided].all(), text
    # Where OpenMM has a force for some atoms only, a frame has failed, or it has those.
    partly = np.isfinite(energy) & ~whole
    has_force = np.isfinite(expected_forces[partly]) & np.isfinite(force_allowed[partly])[:, None, None]
    off = np.abs(forces - expected_forces)[partly] > force_allowed[partly][:, None, None]
    assert not (off & has_force).any(), text
    return int(decided.sum())


def compare_many(kind: str, seeds: range) -> None:
    compared = 0
    for seed in seeds:
        system, text = random_system(kind, seed)
        frames = 0.3 * np.random.default_rng(seed).standard_normal((6, N, 3))
        compared += compare(system, frames, f"{kind} {seed}: {text}")
    assert compared > len(seeds)  # of six frames more than one


@pytest.mark.parametrize("kind", FORCES)
def test_random_programs_agree_with_reference(kind: str) -> None:
    compare_many(kind, range(20))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORCES)
def test_many_random_programs_agree_with_reference(kind: str) -> None:
    compare_many(kind, range(20, 420))


# -- odd points ----------------------------------------------------------------------------------------

CORNERS = [
    "abs(y)",
    "y*abs(y)",
    "min(x, 0.6-x)",
    "min(0.6-x, x)",
    "max(x, 0.6-x)",
    "max(0.6-x, x)",
    "min(y, 0)",
    "min(0, y)",
    "max(y, 0)",
    "max(0, y)",
    "step(y)+y",
    "delta(y)+y",
    "floor(y)+ceil(y)+y",
    "select(y, log(y), x)",
    "select(delta(y), x, 3*x)",
    "y/y+x",
    "y-y+x",
    "log(-x)/log(-x)+x",
    "log(-x)-log(-x)+x",
    "0*log(-x)+x",
    "0/y+x",
    "0^y+x",
    "y^0+x",
    "x^g",
    "(-x)^g+x",
    "y^1.5+x",
    "y^2+y^3",
    "(-x)^2+(-x)^3+(-x)^17+(-x)^-3",
    "x/(1/y)+x",
    "max(-1/y, x)",
    "min(1/y, x)",
    "min(log(-x), x)",
    "max(log(-x), x)",
    "max(sqrt(0.25-x), x)",
    "select(log(-x), x, 2*x)",
    "step(log(-x))+delta(log(-x))+x",
    "select(1-step(x-1), x, acos(x+1))",
    "atan2(y, x)+atan2(y, -x)",
    "tanh(1e4*x)+erf(1e4*x)+erfc(1e4*x)+exp(-1e4*x)",
    "periodicdistance(x, y, z, 0.3, 0, 0)",
]


@pytest.mark.parametrize("text", CORNERS)
def test_corners_are_those_of_reference(text: str) -> None:
    force = openmm.CustomExternalForce(text)
    force.addGlobalParameter("g", 0.0)
    force.addParticle(0, [])
    system, frames = build(1, force), np.array([[[0.3, 0.0, 0.0]]])
    energy, forces = TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames))
    expected, expected_forces = reference(system, frames)
    known = np.isfinite(expected_forces)
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(forces.numpy()[known], expected_forces[known], rtol=1e-12)


def pair(text: str, cutoff: float) -> openmm.Force:
    force = openmm.CustomNonbondedForce(text)
    force.setNonbondedMethod(force.CutoffNonPeriodic)
    force.setCutoffDistance(cutoff)
    force.addParticle([])
    force.addParticle([])
    return force


def born_pair(cutoff: float) -> openmm.Force:
    force = openmm.CustomGBForce()
    force.setNonbondedMethod(force.CutoffNonPeriodic)
    force.setCutoffDistance(cutoff)
    force.addComputedValue("v", "log(0.5-r)", force.ParticlePair)
    force.addEnergyTerm("v+0.1", force.SingleParticle)
    force.addEnergyTerm("1/(0.5-r)", force.ParticlePair)
    force.addParticle([])
    force.addParticle([])
    return force


def lennard_jones(cutoff: float) -> openmm.Force:
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(force.CutoffNonPeriodic)
    force.setCutoffDistance(cutoff)
    force.addParticle(0.5, 0.3, 1.0)
    force.addParticle(-0.4, 0.3, 1.0)
    return force


@pytest.mark.parametrize("force", [pair("1+r+1/(0.5-r)", 0.5), born_pair(0.5), lennard_jones(0.5)])
@pytest.mark.parametrize("distance", [np.nextafter(0.5, 0.0) - 1e-3, 0.5, np.nextafter(0.5, 1.0)])
def test_at_the_cutoff(force: openmm.Force, distance: float) -> None:
    system = build(2, copy.deepcopy(force))
    frames = np.array([[[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]])
    energy, forces = TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames))
    expected, expected_forces = reference(system, frames)
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(forces.numpy(), expected_forces, rtol=1e-9, atol=1e-12)


def points(text: str, n: int) -> openmm.Force:
    force = openmm.CustomCompoundBondForce(n, text)
    force.addBond(list(range(n)), [])
    return force


def one_bond(force: openmm.Force) -> openmm.Force:
    force.addBond(0, 1, *([0.1, 100.0] if isinstance(force, openmm.HarmonicBondForce) else [[]]))
    return force


@pytest.mark.parametrize(
    ("force", "third"),
    [
        (one_bond(openmm.HarmonicBondForce()), 0.0),
        (one_bond(openmm.CustomBondForce("r^2+r")), 0.0),
        (points("distance(p1,p2)", 2), 0.0),
        (points("pointdistance(x1,y1,z1,x2,y2,z2)+x1", 2), 0.0),
        (points("pointangle(x1,y1,z1,x2,y2,z2,x3,y3,z3)", 3), 0.25),
    ],
)
def test_points_on_one_spot_or_line_do_not_pull(force: openmm.Force, third: float) -> None:
    system = build(3, copy.deepcopy(force))
    frames = np.array([[[0.0, 0.0, 0.0], [third / 2, 0.0, 0.0], [third, 0.0, 0.0]]])
    energy, forces = TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames))
    expected, expected_forces = reference(system, frames)
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(forces.numpy(), expected_forces, atol=1e-12)


# -- second derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "select(step(0.25-r), sqrt(0.25-r), 3*r^3)",
        "max(-log(0.25-r), 2*r^2)",
        "min(sqrt(0.25-r), 5*r^2)",
        "select(step(0.5-r), 10*r^2, (r-0.5)^0.5)",
    ],
)
def test_second_derivatives_go_through_the_branch_that_is_taken(text: str) -> None:
    system = build(3, one_bond(openmm.CustomBondForce(text)), one_bond(openmm.HarmonicBondForce()))
    x = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.01, 0.0], [0.6, 0.02, 0.03]]], dtype=torch.float64, requires_grad=True)
    potential = TorchPotential(system, compile=False)
    assert torch.autograd.gradcheck(potential, x, eps=1e-6, atol=1e-4)
    assert torch.autograd.gradgradcheck(potential, x, eps=1e-6, atol=1e-3)
    hessian = torch.func.hessian(lambda y: potential.differentiable_energy(y[None])[0])(x[0].detach())
    expected = torch.autograd.functional.hessian(lambda y: potential(y)[0], x.detach())[0, :, :, 0]  # type: ignore[no-untyped-call]
    torch.testing.assert_close(hessian, expected)


def test_second_derivatives_of_pairs_beyond_a_singular_cutoff() -> None:
    force = pair("-50*R^2*log(1-(r/R)^2); R=0.5", 0.45)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.25)
    force.addParticle([])
    potential = TorchPotential(build(3, force), compile=False)
    x = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.1, 0.0], [0.9, 0.0, 0.2]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(potential, x, eps=1e-6, atol=1e-3)
