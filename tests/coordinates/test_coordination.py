"""Every shape of coordination: structures come back, and thermal ones lie in the domain."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from torch import Tensor

import boltzflow as bf
from boltzflow.coordinates import coverage

D = 0.16
ROUND = [math.radians(t) for t in (0, 120, 240)]
X, Y, Z = np.eye(3)
EQUATOR = [np.array([math.cos(t), math.sin(t), 0.0]) for t in ROUND]
TILT = [np.array([math.cos(t), math.sin(t), 0.2]) / math.sqrt(1.04) for t in np.arange(4) * math.pi / 2]
SEESAW = [math.radians(t) for t in (-51, 51)]
SHAPES: dict[str, list[np.ndarray]] = {
    "T": [Z, -Z, X],
    "bent T": [np.array([0.1, 0, 1]), np.array([0.1, 0, -1]), X],
    "trigonal planar": EQUATOR,
    "square planar": [X, Y, -X, -Y],
    "square planar, cis first": [X, -X, Y, -Y],
    "seesaw": [
        np.array([-0.06, 0, 1]),
        np.array([-0.06, 0, -1]),
        *(np.array([math.cos(t), math.sin(t), 0]) for t in SEESAW),
    ],
    "trigonal bipyramid": [Z, -Z, *EQUATOR],
    "trigonal bipyramid, equator first": [*EQUATOR, Z, -Z],
    "square pyramid": [Z, *TILT],
    "square pyramid, base first": [*TILT, Z],
    "octahedron": [X, -X, Y, -Y, Z, -Z],
    "octahedron, cis first": [X, Y, Z, -X, -Y, -Z],
}


def complex_of(directions: list[np.ndarray], tail: int = 0) -> bf.MolecularSystem:
    """A centre with ligands; `tail` more atoms on the first of them, bent."""
    x = [np.zeros(3), *(D * v / np.linalg.norm(v) for v in directions)]
    links = [(0, k) for k in range(1, len(x))]
    for k in range(tail):
        end = len(links) if k else 1
        links.append((end, len(x)))
        side = np.cross(x[1], [0.3, 0.5, 0.7])
        x.append(x[end] + 0.1 * (x[1] / D * 0.5 + (-1) ** k * side / np.linalg.norm(side)))
    positions = np.array(x)
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CPX", topology.addChain())
    atoms = [
        topology.addAtom(f"A{i}", app.element.fluorine if i else app.element.platinum, residue) for i in range(len(x))
    ]
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for atom in atoms:
        system.addParticle(atom.element.mass)
    near: list[list[int]] = [[] for _ in x]
    for i, j in links:
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, float(np.linalg.norm(positions[i] - positions[j])), 2e5)
        near[i].append(j)
        near[j].append(i)
    for j, around in enumerate(near):
        for a, i in enumerate(around):
            for k in around[a + 1 :]:
                u, v = positions[i] - positions[j], positions[k] - positions[j]
                angles.addAngle(i, j, k, float(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)), 300.0)
    system.addForce(bonds)
    system.addForce(angles)
    return bf.MolecularSystem(topology, system, positions)


def thermal(molecule: bf.MolecularSystem, n: int) -> Tensor:
    """Structures with noise, three times that of the bonds at 300 K."""
    x = torch.from_numpy(molecule.positions)
    noise = torch.randn(n, *x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x + 0.011 * noise


@pytest.mark.parametrize("tail", [0, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_structures_come_back_and_thermal_ones_lie_inside(shape: str, tail: int) -> None:
    molecule = complex_of(SHAPES[shape], tail)
    coordinates = molecule.coordinates()
    x = torch.cat([torch.from_numpy(molecule.positions)[None], thermal(molecule, 1000)])
    z, log_ratio = coordinates.inverse(x)
    back, log_back = coordinates(z)
    assert (torch.cdist(back, back) - torch.cdist(x, x)).abs().max() < 1e-6
    torch.testing.assert_close(log_back[1:], -log_ratio[1:], rtol=0, atol=1e-6)
    found = coverage(coordinates, x)
    assert found.outside == 0, str(found)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_energy_is_smooth_where_an_atom_turns_about_its_line(shape: str) -> None:
    molecule = complex_of(SHAPES[shape])
    coordinates, potential = molecule.coordinates(), molecule.potential("torch", compile=False)
    start, end = coordinates.inverse(thermal(molecule, 2))[0]
    path = start + torch.linspace(0.0, 1.0, 400, dtype=torch.float64)[:, None] * (end - start)
    energy = potential.energy(coordinates(path)[0])
    assert energy.diff().abs().max() < 0.02 * (energy.max() - energy.min())
