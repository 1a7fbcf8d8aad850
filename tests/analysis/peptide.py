"""Frames of five atoms with a φ and a ψ, whose distribution is known: two basins, and everything else normal."""

from __future__ import annotations

from itertools import pairwise

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble

RARE = 0.2
"""The share of the basin at φ > 0."""


def topology() -> mdtraj.Topology:
    made = mdtraj.Topology()
    chain = made.add_chain()
    residues = [made.add_residue(name, chain, resSeq=i) for i, name in enumerate(("ACE", "ALA", "NME"), 1)]
    atoms = [
        made.add_atom(name, mdtraj.element.nitrogen if name == "N" else mdtraj.element.carbon, residues[place])
        for name, place in (("C", 0), ("N", 1), ("CA", 1), ("C", 1), ("N", 2))
    ]
    for pair in pairwise(atoms):
        made.add_bond(*pair)
    return made


def frames(rare: NDArray[np.bool_], random: np.random.Generator, stretch: float = 1.0) -> tuple[Array, Array]:
    """Positions (n, 5, 3) in nm, in the basin said (n,), and energies of bonds and angles in kJ/mol."""
    n = len(rare)
    phi = np.where(rare, random.vonmises(1.0, 20, n), random.vonmises(-2.0, 5, n))
    psi = np.where(rare, random.vonmises(0.7, 10, n), random.vonmises(2.3, 4, n))
    bonds, angles = random.normal(0.15 * stretch, 0.003, (4, n)), random.normal(1.95, 0.05, (3, n))
    x = np.zeros((n, 5, 3))
    x[:, 1, 0] = bonds[0]
    x[:, 2] = x[:, 1] + bonds[1][:, None] * np.stack([-np.cos(angles[0]), np.sin(angles[0]), np.zeros(n)], 1)
    for atom, torsion in ((3, phi), (4, psi)):
        x[:, atom] = _placed(x[:, atom - 3 : atom], bonds[atom - 1], angles[atom - 2], torsion)
    energy = np.square((bonds - 0.15) / 0.003).sum(0) + np.square((angles - 1.95) / 0.05).sum(0)
    return x, 1.247 * energy  # kT/2 for each


def weighted(n: int, seed: int, *, rare: float = RARE, stretch: float = 1.0) -> Ensemble:
    """Independent samples that visit the rare basin twice as often, with log-normal weights that put it right."""
    random = np.random.default_rng(seed)
    inside = random.random(n) < 0.4
    share = np.where(inside, rare / 0.4, (1 - rare) / 0.6)
    logs = np.log(np.maximum(share, 1e-300)) + random.normal(-0.125, 0.5, n)
    x, energies = frames(inside, random, stretch)
    return Ensemble(x, energies, 300.0, logs, log_q=np.zeros(n), topology=topology())


def simulated(ladders: int, moments: int, seed: int) -> tuple[Ensemble, NDArray[np.int64]]:
    """Simulations that change their basin every ten moments, and which of them each frame is of."""
    random = np.random.default_rng(seed + 1000)
    inside = np.empty((moments, ladders), bool)
    inside[0] = random.random(ladders) < RARE
    for now in range(1, moments):
        anew = random.random(ladders) < 0.1
        inside[now] = np.where(anew, random.random(ladders) < RARE, inside[now - 1])
    x, energies = frames(inside.ravel(), random)
    return Ensemble(x, energies, 300.0, topology=topology()), np.arange(inside.size) % ladders


def _placed(three: Array, bond: Array, angle: Array, torsion: Array) -> Array:
    """Atoms (n, 3) behind three others (n, 3, 3)."""
    a, b, c = three.transpose(1, 0, 2)
    along = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    across = np.cross(normal, along)
    turned = np.cos(torsion)[:, None] * across + np.sin(torsion)[:, None] * normal
    return c + bond[:, None] * (np.sin(angle)[:, None] * turned - np.cos(angle)[:, None] * along)
