"""Random expressions in every custom force against OpenMM's Reference platform, at random and at odd points."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch

from boltzflow.energies import TorchPotential

from .conftest import Array, reference
from .random_programs import FORCES, N, random_system

_ROUNDING = 1e-13


def compare(system: openmm.System, frames: Array, text: str) -> int:
    """Energies and forces wherever OpenMM's are finite; returns how many frames had both."""
    energy, forces = (t.numpy() for t in TorchPotential(system, compile=False).energy_and_forces(torch.tensor(frames)))
    with np.errstate(all="ignore"):
        expected, expected_forces = reference(system, frames)
        shaken, shaken_forces = reference(system, frames * (1.0 + _ROUNDING))
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
    assert compared > 2 * len(seeds)  # a third of all frames at least


@pytest.mark.parametrize("kind", FORCES)
def test_random_programs_agree_with_reference(kind: str) -> None:
    compare_many(kind, range(30))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORCES)
def test_many_random_programs_agree_with_reference(kind: str) -> None:
    compare_many(kind, range(30, 430))
