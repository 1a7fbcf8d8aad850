from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openmm
import pytest
import torch
from openmm import app, unit
from torch import Tensor

from boltzflow.coordinates import InternalCoordinates

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}

ROOT = Path(__file__).parents[2]


@dataclass
class Molecule:
    """What `InternalCoordinates.from_structure` asks for, and the OpenMM system it came from."""

    bonds: list[tuple[int, int]]
    positions: Tensor
    atomic_numbers: list[int]
    names: list[str]
    bond_terms: list[tuple[int, int, float, float]]
    angle_terms: list[tuple[int, int, int, float, float]]
    system: Any

    def coordinates(self, **options: Any) -> InternalCoordinates:
        terms = {"bond_terms": self.bond_terms, "angle_terms": self.angle_terms}
        return InternalCoordinates.from_structure(
            self.bonds, self.positions, self.atomic_numbers, self.names, **terms, **options
        )


def load(path: Path, *forcefield: str) -> Molecule:
    pdb = app.PDBFile(str(path))
    system = app.ForceField(*forcefield).createSystem(pdb.topology, constraints=None)
    atoms = list(pdb.topology.atoms())
    bonds, angles = [], []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
        if isinstance(force, openmm.HarmonicAngleForce):
            angles = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    md = unit.md_unit_system
    return Molecule(
        bonds=[(a.index, b.index) for a, b in pdb.topology.bonds()],
        positions=torch.tensor(pdb.positions.value_in_unit(unit.nanometer), dtype=torch.float64),
        atomic_numbers=[a.element.atomic_number for a in atoms],
        names=[f"{a.residue.name}{a.residue.index + 1}-{a.name}" for a in atoms],
        bond_terms=[(i, j, b.value_in_unit_system(md), k.value_in_unit_system(md)) for i, j, b, k in bonds],
        angle_terms=[(i, j, k, t.value_in_unit_system(md), c.value_in_unit_system(md)) for i, j, k, t, c in angles],
        system=system,
    )


@pytest.fixture(scope="session")
def dipeptide() -> Molecule:
    return load(ROOT / "systems/alanine_dipeptide/topology.pdb", "amber96.xml", "implicit/obc1.xml")


@pytest.fixture(scope="session")
def peptide() -> Molecule:
    """A chain of all twenty residues with charged ends: ideal geometry, then minimised with amber99sbildn."""
    return load(Path(__file__).parent / "data/twenty_residues.pdb", "amber99sbildn.xml")


@pytest.fixture(scope="session", params=["dipeptide", "peptide"])
def molecule(request: pytest.FixtureRequest) -> Molecule:
    found: Molecule = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture(params=["bounded", "unbounded"])
def lengths(request: pytest.FixtureRequest) -> str:
    return str(request.param)
