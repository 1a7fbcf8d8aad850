"""A molecule of two methyls whose force field knows bonds, angles and one threefold torsion."""

from __future__ import annotations

import math
from itertools import combinations, product

import openmm
from openmm import app

import boltzflow as bf

CARBONS, HYDROGENS = (0, 4), ((1, 2, 3), (5, 6, 7))


def ethane(temperature: float = 300.0) -> bf.MolecularSystem:
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("ETH", topology.addChain())
    bonds, angles, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    positions, atoms = [], []
    for end, carbon in enumerate(CARBONS):
        sign = (-1, 1)[end]
        positions.append([0.0, 0.0, 0.0765 * sign])
        atoms.append(topology.addAtom(f"C{end}", app.Element.getBySymbol("C"), residue))
        system.addParticle(12.0)
        for i, hydrogen in enumerate(HYDROGENS[end]):
            turn = 2 * math.pi * (i / 3 + end / 6)
            positions.append([0.1028 * math.cos(turn), 0.1028 * math.sin(turn), 0.1128 * sign])
            atoms.append(topology.addAtom(f"H{end}{i}", app.Element.getBySymbol("H"), residue))
            system.addParticle(1.0)
            topology.addBond(atoms[carbon], atoms[hydrogen])
            bonds.addBond(carbon, hydrogen, 0.109, 280_000.0)
            angles.addAngle(hydrogen, carbon, CARBONS[1 - end], 1.92, 300.0)
        for i, j in combinations(HYDROGENS[end], 2):
            angles.addAngle(i, carbon, j, 1.88, 250.0)
    topology.addBond(atoms[0], atoms[4])
    bonds.addBond(*CARBONS, 0.153, 220_000.0)
    for i, j in product(*HYDROGENS):
        torsions.addTorsion(i, *CARBONS, j, 3, 0.0, 0.6)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    return bf.MolecularSystem(topology, system, positions, temperature, "ethane")
