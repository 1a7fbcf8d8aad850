"""Whole molecules in the force fields that OpenMM ships, each force and all together, against Reference."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch
from openmm import app

from boltzflow.energies import TorchPotential

from .conftest import PDB, Array, reference

STRUCTURES = Path(__file__).parent / "structures"
IMPLICIT = ("hct", "obc1", "obc2", "gbn", "gbn2")


@dataclass(frozen=True)
class Case:
    """A molecule, the files of a force field, and how the System is made."""

    molecule: str
    files: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


CUTOFF = {"nonbondedMethod": app.CutoffNonPeriodic, "nonbondedCutoff": 0.9 * u.nanometer}
PERIODIC = {"nonbondedMethod": app.CutoffPeriodic, "nonbondedCutoff": 0.8 * u.nanometer}
SWITCHED = PERIODIC | {"switchDistance": 0.6 * u.nanometer}
CASES = {
    **{
        f"dipeptide {f}": Case("dipeptide", (f"{f}.xml",)) for f in ("amber96", "amber99sbildn", "amber10", "amberfb15")
    },
    "dipeptide amber03": Case("dipeptide", ("amber03.xml", "amber03_obc.xml")),
    **{f"peptide amber14 {i}": Case("all_residues", ("amber14-all.xml", f"implicit/{i}.xml")) for i in IMPLICIT},
    "peptide amber99sbildn": Case(
        "all_residues", ("amber99sbildn.xml", "amber99_obc.xml"), {"constraints": app.HBonds}
    ),
    "peptide amber19": Case("all_residues", ("amber19-all.xml",)),
    "peptide charmm36, all bonds": Case("all_residues", ("charmm36.xml",), {"constraints": app.AllBonds}),
    "peptide amber14, cutoff": Case("all_residues", ("amber14-all.xml", "implicit/obc2.xml"), CUTOFF),
    "peptide amber14, salt": Case(
        "all_residues", ("amber14-all.xml", "implicit/gbn2.xml"), {"implicitSolventKappa": 1.0 / u.nanometer}
    ),
    "DNA amber14": Case("dna", ("amber14-all.xml", "implicit/gbn2.xml")),
    "DNA amber19": Case("dna", ("amber19/DNA.OL21.xml",)),
    "DNA bsc1": Case("dna", ("amber14/DNA.bsc1.xml",)),
    "RNA amber14": Case("rna", ("amber14-all.xml", "implicit/obc1.xml"), {"constraints": app.HAngles}),
    "ions": Case("ions", ("amber14-all.xml", "amber14/tip3p.xml")),
    "ions and rigid water": Case("water", ("amber14-all.xml", "amber14/tip3p.xml")),
    "water of four sites": Case("water", ("amber14-all.xml", "amber14/tip4pew.xml"), CUTOFF),
    "water of five sites": Case("water", ("tip5p.xml",)),
    "water of four sites, periodic": Case("water", ("amber14-all.xml", "amber14/opc.xml"), PERIODIC),
    "water, periodic, switched": Case("water", ("amber14-all.xml", "amber14/tip3p.xml"), SWITCHED),
}


@functools.cache
def molecule(name: str) -> tuple[app.Topology, Array]:
    """Topology and positions (N, 3) in nm."""
    if name in ("ions", "water"):
        return _ions() if name == "ions" else _water()
    pdb = app.PDBFile(str(PDB if name == "dipeptide" else STRUCTURES / f"{name}.pdb"))
    return pdb.topology, pdb.getPositions(asNumpy=True).value_in_unit(u.nanometer)


def _ions() -> tuple[app.Topology, Array]:
    topology = app.Topology()
    chain = topology.addChain()
    for kind, symbol in (("NA", "Na"), ("CL", "Cl"), ("K", "K"), ("MG", "Mg"), ("CL", "Cl"), ("CL", "Cl")):
        topology.addAtom(kind, app.Element.getBySymbol(symbol), topology.addResidue(kind, chain))
    return topology, 0.5 * np.random.default_rng(2).standard_normal((6, 3))


def _water() -> tuple[app.Topology, Array]:
    """27 molecules of water on a grid, turned at random, in a box of 2 nm."""
    rng = np.random.default_rng(4)
    topology, positions = app.Topology(), []
    chain = topology.addChain()
    shape = np.array([[0.0, 0.0, 0.0], [0.09572, 0.0, 0.0], [-0.0239987, 0.0926627, 0.0]])
    for place in np.ndindex(3, 3, 3):
        residue = topology.addResidue("HOH", chain)
        oxygen, *hydrogens = (topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in ("O", "H1", "H2"))
        for hydrogen in hydrogens:
            topology.addBond(oxygen, hydrogen)
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        positions.append(shape @ turn + 0.35 * np.array(place))
    topology.setUnitCellDimensions((2.0, 2.0, 2.0))
    return topology, np.concatenate(positions)


@functools.cache
def make(name: str) -> tuple[openmm.System, Array]:
    """The System, and frames (3, N, 3): relaxed, hot, clashing."""
    case = CASES[name]
    topology, positions = molecule(case.molecule)
    force_field = app.ForceField(*case.files)
    modeller = app.Modeller(topology, positions * u.nanometer)
    modeller.addExtraParticles(force_field)
    system = force_field.createSystem(modeller.topology, **case.options)
    start = np.array(modeller.positions.value_in_unit(u.nanometer))
    rng = np.random.default_rng(5)
    hot = start + 0.015 * rng.standard_normal(start.shape)
    clashing = start + 0.03 * rng.standard_normal(start.shape)
    clashing[1] = clashing[-2] + 0.02
    return system, np.stack([start, hot, clashing])


def alone(system: openmm.System, force: openmm.Force) -> openmm.System:
    """The same particles under one force."""
    other = copy.deepcopy(system)
    while other.getNumForces():
        other.removeForce(0)
    other.addForce(copy.deepcopy(force))
    return other


@pytest.mark.parametrize("name", CASES)
def test_each_force_and_all_together(name: str) -> None:
    system, frames = make(name)
    x = torch.tensor(frames)
    real = [i for i in range(system.getNumParticles()) if not system.isVirtualSite(i)]
    magnitude = np.zeros(len(frames))
    for force in system.getForces():
        part = alone(system, force)
        energy, forces = reference(part, frames)
        native, native_forces = TorchPotential(part, compile=False).energy_and_forces(x)
        # Σ|terms| is at least |energy|, so these are stricter than 1e-6 of it.
        assert (np.abs(native.numpy() - energy) <= 1e-7 * np.abs(energy) + 1e-9).all(), force.getName()
        largest = np.abs(forces[:, real]).max((1, 2))
        error = np.abs(native_forces.numpy() - forces)[:, real].max((1, 2))
        assert (error <= 1e-7 * largest + 1e-9).all(), force.getName()
        magnitude += np.abs(energy)
    energy, forces = reference(system, frames)
    native, native_forces = TorchPotential(system, compile=False).energy_and_forces(x)
    assert (np.abs(native.numpy() - energy) <= 1e-8 * magnitude).all()
    error = np.abs(native_forces.numpy() - forces)[:, real].max((1, 2))
    assert (error <= 1e-7 * np.abs(forces[:, real]).max((1, 2))).all()
