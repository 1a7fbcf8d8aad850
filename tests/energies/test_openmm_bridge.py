"""The bridge to OpenMM: platforms, workers, failures, virtual sites, boxes."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch

from boltzflow.energies import OpenMMPotential, TorchPotential
from boltzflow.energies.openmm_contexts import ContextEvaluator
from boltzflow.errors import EvaluationError, OptionError, ShapeError
from boltzflow.testing import check_potential

from .conftest import Array, reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("platform", "tolerance"), [("Reference", 1e-9), ("CPU", 1e-4), (None, 1e-4)])
def test_agrees_with_native_terms(obc1: openmm.System, thermal: Array, platform: str | None, tolerance: float) -> None:
    x = torch.tensor(thermal[:10])
    potential = OpenMMPotential(obc1, platform=platform, threads=1 if platform == "CPU" else None)
    energy, forces = potential.energy_and_forces(x)
    expected, expected_forces = TorchPotential(obc1, compile=False).energy_and_forces(x)
    torch.testing.assert_close(energy, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(forces, expected_forces, rtol=tolerance, atol=100 * tolerance)
    torch.testing.assert_close(potential.energy(x), energy, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["single", "mixed", "double"])
@pytest.mark.parametrize("workers", [0, 1])
def test_agrees_on_a_gpu(obc1: openmm.System, thermal: Array, precision: str, workers: int) -> None:
    x = torch.tensor(thermal)
    expected, expected_forces = reference(obc1, thermal)
    with OpenMMPotential(obc1, platform="CUDA", precision=precision, workers=workers) as potential:
        energy, forces = potential.energy_and_forces(x)
    tolerance = 1e-8 if precision == "double" else 1e-4
    np.testing.assert_allclose(energy, expected, rtol=tolerance, atol=100 * tolerance)
    np.testing.assert_allclose(forces, expected_forces, rtol=tolerance, atol=1e4 * tolerance)


def test_workers_share_the_frames_in_order(vacuum: openmm.System, thermal: Array) -> None:
    x = torch.tensor(thermal[:21])
    x[4] = torch.nan
    expected, expected_forces = OpenMMPotential(vacuum, platform="Reference").energy_and_forces(x)
    with OpenMMPotential(vacuum, platform="Reference", workers=2) as potential:
        for _ in range(2):  # the second time the workers are there already
            energy, forces = potential.energy_and_forces(x)
            torch.testing.assert_close(energy, expected, rtol=0, atol=0)
            torch.testing.assert_close(forces, expected_forces, rtol=0, atol=0)
        assert potential.failed == 2
        assert energy[4] == torch.inf


def test_a_worker_killed_in_mid_batch_loses_nothing(obc1: openmm.System, thermal: Array) -> None:
    x = torch.tensor(thermal).repeat(3, 1, 1)  # 0.2 s of work or more
    once = OpenMMPotential(obc1, platform="Reference").energy_and_forces(x[:120])
    with OpenMMPotential(obc1, platform="Reference", workers=2) as potential:
        potential.energy(x[:8])
        assert potential._pool is not None
        victim, *others = (process.pid for process in potential._pool.processes)
        killer = threading.Timer(0.05, os.kill, (victim, signal.SIGKILL))
        killer.start()
        energy, forces = potential.energy_and_forces(x)
        killer.join()
        assert victim not in {process.pid for process in potential._pool.processes}
        assert {process.pid for process in potential._pool.processes} >= set(others)
        torch.testing.assert_close(energy, once[0].repeat(3), rtol=0, atol=0)
        torch.testing.assert_close(forces, once[1].repeat(3, 1, 1), rtol=0, atol=0)
        assert (potential.evaluations, potential.failed) == (8 + len(x), 0)


def test_failed_frames_are_counted(obc1: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(obc1, platform="CPU", threads=1)
    x = torch.tensor(thermal[:3])
    x[1, 0] = torch.nan
    assert torch.isfinite(potential.energy(x)).tolist() == [True, False, True]
    assert potential.failed == 1


def test_system_is_never_changed(obc1: openmm.System, thermal: Array) -> None:
    before = openmm.XmlSerializer.serialize(obc1)
    OpenMMPotential(obc1, platform="Reference").energy(torch.tensor(thermal[:1]))
    assert openmm.XmlSerializer.serialize(obc1) == before


def test_pickle_keeps_the_system_and_the_options(vacuum: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(vacuum, platform="Reference")
    x = torch.tensor(thermal[:2])
    expected = potential.energy(x)
    twin = pickle.loads(pickle.dumps(potential))
    torch.testing.assert_close(twin.energy(x), expected, rtol=0, atol=0)


def test_closed_potential_can_be_used_again(vacuum: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(vacuum, platform="Reference")
    x = torch.tensor(thermal[:2])
    expected = potential.energy(x)
    potential.close()
    potential.close()
    torch.testing.assert_close(potential.energy(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platform": "Abacus"}, r"available OpenMM platform \(.*Reference.*\); got 'Abacus'"),
        ({"platform": "Reference", "precision": "double"}, "no precision for the platform Reference"),
        ({"platform": "Reference", "threads": 2}, "no threads for the platform Reference"),
        ({"precision": "double"}, "Expected a platform together with precision"),
        ({"workers": -1}, "workers ≥ 0"),
        ({"platform": "CPU", "precision": "double"}, "no precision for the platform CPU"),
        ({"threads": 0, "platform": "CPU"}, "threads ≥ 1"),
    ],
)
def test_refuses_impossible_options(vacuum: openmm.System, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        OpenMMPotential(vacuum, **options)  # type: ignore[arg-type]


def test_a_fork_makes_a_context_of_its_own() -> None:
    """Threads of the CPU platform do not survive a fork: the parent's Context would hang there, even at its end."""
    code = """
import os, sys
import openmm, torch
from boltzflow.energies import OpenMMPotential

system, force = openmm.System(), openmm.NonbondedForce()
for charge in (1.0, -1.0):
    system.addParticle(1.0)
    force.addParticle(charge, 0.1, 1.0)
system.addForce(force)
potential = OpenMMPotential(system, platform="CPU", threads=2)
x = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]])
expected = potential.energy(x)
for use in (False, True):
    fork = os.fork()
    if fork == 0:
        sys.exit(0 if not use or torch.equal(potential.energy(x), expected) else 1)
    assert os.waitpid(fork, 0)[1] == 0
assert torch.equal(potential.energy(x), expected)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


# -- what makes frames fail, and what does not ---------------------------------------------------------------


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_impossible_frames_fail_alone(obc1: openmm.System, thermal: Array, platform: str) -> None:
    x = torch.tensor(thermal[:6])
    potential = OpenMMPotential(obc1, platform=platform, threads=1 if platform == "CPU" else None)
    expected = potential.energy(x)
    x[0, 3], x[1, 3, 1], x[2, 3], x[3, 3] = torch.nan, -torch.inf, x[2, 20], 1e300
    energy, forces = potential.energy_and_forces(x)
    assert torch.isinf(energy).tolist() == [True, True, True, True, False, False]
    assert not forces[:4].any()
    torch.testing.assert_close(energy[4:], expected[4:], rtol=1e-6, atol=1e-4)
    assert (potential.evaluations, potential.failed) == (12, 4)


def test_wrong_numbers_of_atoms_are_refused_before_any_worker_starts(vacuum: openmm.System) -> None:
    potential = OpenMMPotential(vacuum, workers=2)
    with pytest.raises(ShapeError, match=r"OpenMMPotential: expected positions of shape \(batch, 22, 3\)"):
        potential.energy(torch.zeros(4, 21, 3))
    assert potential._pool is None
    assert potential.evaluations == 0


def test_a_system_without_context_is_an_error() -> None:
    system = pair_of_particles(openmm.CustomBondForce("nonsense*r"))
    with pytest.raises(EvaluationError, match=r"OpenMM cannot create a Context for this System: .*nonsense"):
        OpenMMPotential(system, platform="Reference").energy(torch.zeros(1, 2, 3))
    with (
        OpenMMPotential(system, platform="Reference", workers=1) as potential,
        pytest.raises(EvaluationError, match=r"OpenMM cannot create a Context for this System: .*nonsense"),
    ):
        potential.energy(torch.zeros(1, 2, 3))


def pair_of_particles(force: openmm.Force) -> openmm.System:
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    if isinstance(force, openmm.CustomBondForce):
        force.addBond(0, 1, [])
    system.addForce(force)
    return system


class Device:
    """Makes Contexts that work until they are lost, and then raise for every frame."""

    def __init__(self, lives: int, refused: float | None = None) -> None:
        self.lives, self.refused, self.lost, self.made = lives, refused, False, 0

    def __call__(self) -> openmm.Context:
        self.made += 1
        self.lost = self.made > self.lives
        bond = openmm.CustomBondForce("100*r^2")
        system = pair_of_particles(bond)
        device = self

        class Context(openmm.Context):
            def setPositions(self, frame: Array) -> None:
                if device.lost or frame[1, 0] == device.refused:
                    raise openmm.OpenMMException("Error downloading array energyBuffer: unspecified launch failure")
                super().setPositions(frame)

        return Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def stretched(*lengths: float) -> Array:
    frames = np.zeros((len(lengths), 2, 3))
    frames[:, 1, 0] = lengths
    return frames


def test_a_lost_context_is_made_anew() -> None:
    device = Device(lives=2)
    evaluate = ContextEvaluator(device)
    assert evaluate(stretched(0.1), False)[0].tolist() == pytest.approx([1.0])
    device.lost = True
    energies, forces = evaluate(stretched(0.2, 0.3), True)
    assert energies.tolist() == pytest.approx([4.0, 9.0])
    assert forces is not None
    assert forces[:, 0, 0].tolist() == pytest.approx([40.0, 60.0])
    assert device.made == 2


def test_a_device_that_is_gone_is_an_error_and_no_failed_frame() -> None:
    device = Device(lives=1)
    evaluate = ContextEvaluator(device)
    evaluate(stretched(0.1), False)
    device.lost = True
    with pytest.raises(EvaluationError, match=r"failed on a frame that worked before.*launch failure"):
        evaluate(stretched(0.2), False)


def test_a_frame_that_is_refused_for_its_own_sake_fails_without_a_new_context() -> None:
    device = Device(lives=9, refused=0.2)
    evaluate = ContextEvaluator(device)
    energies, _ = evaluate(stretched(0.1, 0.2, 0.3), False)
    assert energies.tolist() == pytest.approx([1.0, np.nan, 9.0], nan_ok=True)
    assert device.made == 1


def test_a_first_frame_that_fails_in_two_contexts_is_an_error() -> None:
    device = Device(lives=9, refused=0.2)
    with pytest.raises(EvaluationError, match=r"failed on the first frame in two Contexts: .*launch failure"):
        ContextEvaluator(device)(stretched(0.2), False)
    assert device.made == 2


# -- virtual sites, boxes, size ------------------------------------------------------------------------------


def charges(*values: float) -> openmm.System:
    """Particles that see each other, without box."""
    system, nonbonded = openmm.System(), openmm.NonbondedForce()
    for value in values:
        system.addParticle(1.0)
        nonbonded.addParticle(value, 0.1, 0.2)
    system.addForce(nonbonded)
    return system


def test_virtual_sites_are_placed_and_their_forces_spread() -> None:
    plain = charges(0.4, 0.3, -0.2, -0.5, 0.6, -0.6)
    system = copy.deepcopy(plain)
    for site in (3, 4, 5):
        system.setParticleMass(site, 0.0)
    system.setVirtualSite(3, openmm.TwoParticleAverageSite(0, 1, 0.3, 0.7))
    system.setVirtualSite(4, openmm.OutOfPlaneSite(0, 1, 2, 0.2, 0.3, 1.5))
    weights = [1.0, 0.0, 0.0], [-1.0, 0.5, 0.5], [0.0, -1.0, 1.0]
    system.setVirtualSite(5, openmm.LocalCoordinatesSite([0, 1, 2], *weights, openmm.Vec3(0.02, 0.03, 0.05)))

    frames = np.random.default_rng(0).normal(size=(4, 6, 3))  # sites anywhere
    frames[:, :3] = [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.12, 0.0]] + 0.01 * frames[:, :3]
    potential = OpenMMPotential(system, platform="Reference")
    check_potential(potential, torch.tensor(frames), step=1e-6, tolerance=1e-6)
    energy, forces = potential.energy_and_forces(torch.tensor(frames))
    assert not forces[:, 3:].any()

    a, b, c = (frames[:, i] for i in range(3))
    placed = frames.copy()
    placed[:, 3] = 0.3 * a + 0.7 * b
    placed[:, 4] = a + 0.2 * (b - a) + 0.3 * (c - a) + 1.5 * np.cross(b - a, c - a)
    x, y = 0.5 * (b + c) - a, c - b
    axes = np.stack([x, np.cross(np.cross(x, y), x), np.cross(x, y)])
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    placed[:, 5] = a + np.einsum("i,inj->nj", [0.02, 0.03, 0.05], axes)
    expected, _ = reference(plain, placed)
    np.testing.assert_allclose(energy, expected, rtol=1e-10)


@pytest.mark.parametrize(("platform", "tolerance"), [("Reference", 1e-9), ("CPU", 1e-4)])
def test_the_box_is_that_of_the_system(platform: str, tolerance: float) -> None:
    system = charges(0.5, -0.5, 0.3, -0.3)
    nonbonded = system.getForce(0)
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    nonbonded.setCutoffDistance(1.2)
    box = np.array([[2.5, 0.0, 0.0], [0.4, 2.6, 0.0], [0.2, -0.3, 2.7]])
    system.setDefaultPeriodicBoxVectors(*box)
    frames = np.random.default_rng(0).uniform(0.0, 2.5, (20, 4, 3))
    moved = frames + np.random.default_rng(1).integers(-1, 2, (20, 4, 3)) @ box
    threads = 1 if platform == "CPU" else None
    potential = OpenMMPotential(system, platform=platform, threads=threads)
    for one, other in zip(
        potential.energy_and_forces(torch.tensor(moved)), potential.energy_and_forces(torch.tensor(frames)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=10 * tolerance)
    without = OpenMMPotential(charges(0.5, -0.5, 0.3, -0.3), platform=platform, threads=threads)
    assert (without.energy(torch.tensor(moved)) - without.energy(torch.tensor(frames))).abs().max() > 1.0


def test_a_hundred_thousand_frames_in_bounded_memory() -> None:
    """The positions take 24 MB in float32, and would take 48 in OpenMM's float64."""
    code = """
import resource
import openmm, torch
from boltzflow.energies import OpenMMPotential

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

system, bond = openmm.System(), openmm.HarmonicBondForce()
for i in range(20):
    system.addParticle(1.0)
    bond.addBond(i, (i + 1) % 20, 0.1, 100.0)
system.addForce(bond)
x = 0.1 * torch.randn(100_000, 20, 3, generator=torch.Generator().manual_seed(0))
x[::1000, 0, 0] = torch.nan
expected = torch.cat([50.0 * ((y.roll(-1, 1) - y).norm(dim=2) - 0.1).square().sum(1) for y in x.split(1000)])
expected[::1000] = torch.inf
potential = OpenMMPotential(system, platform="Reference")
potential.energy(x[:1000])
before = peak()
energy = potential.energy(x)
print(peak() - before)
torch.testing.assert_close(energy, expected)
assert (potential.evaluations, potential.failed) == (101_000, 101)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(run.stdout) < 12.0
