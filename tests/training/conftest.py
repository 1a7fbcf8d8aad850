from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import openmm
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.core import recipes
from boltzflow.core.distributions import targets
from boltzflow.training import DensityModel


def chain() -> bf.MolecularSystem:
    """Four atoms whose torsion has a deep well (phi = 0) and a shallow one 2 kT above, 6 kT of barrier between."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CHN", topology.addChain())
    atoms = [topology.addAtom(f"C{i}", app.Element.getBySymbol("C"), residue) for i in range(4)]
    bonds, angles, torsion = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for _ in atoms:
        system.addParticle(12.0)
    for i, j in pairwise(range(4)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, 0.15, 100_000.0)
    for i in range(2):
        angles.addAngle(i, i + 1, i + 2, 2.0, 300.0)
    torsion.addTorsion(0, 1, 2, 3, 2, 3.14159265, 6.0)
    torsion.addTorsion(0, 1, 2, 3, 1, 3.14159265, 2.5)
    for force in (bonds, angles, torsion):
        system.addForce(force)
    positions = [[0.13 * i, 0.08 * (i % 2), 0.05 * (i == 3)] for i in range(4)]
    return bf.MolecularSystem(topology, system, positions, name="chain")


def double_well() -> DensityModel:
    """A small flow for a density of two coordinates: steps of it take milliseconds."""
    target = targets.DoubleWell()
    return DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(16,), bound=8.0), target)


@pytest.fixture
def small() -> bf.BoltzmannGenerator:
    """A generator of the chain that starts with a uniform torsion."""
    return bf.BoltzmannGenerator.for_system(chain(), layers=4, hidden=(32,), bins=6, start="plain")


@contextmanager
def interrupted_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this block a training is stopped, as by Ctrl-C, in its step of that number; it must come to that."""
    backward, calls = torch.Tensor.backward, []

    def interrupted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return backward(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            yield
