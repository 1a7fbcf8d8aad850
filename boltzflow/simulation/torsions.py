"""The torsions that distinguish the conformations of a molecule."""

from __future__ import annotations

from dataclasses import dataclass

import mdtraj
import torch
from torch import Tensor

from boltzflow.coordinates.geometry import dihedral
from boltzflow.errors import ShapeError
from boltzflow.molecules import MolecularSystem
from boltzflow.molecules.naming import residue_names


@dataclass(frozen=True)
class NamedTorsion:
    """A torsion: a name such as "phi ALA2" or "torsion C1 C2 C3 C4", and its four atoms."""

    name: str
    atoms: tuple[int, ...]


def named_torsions(system: MolecularSystem) -> list[NamedTorsion]:
    """φ and ψ of each residue if there are any; else one torsion about each bond between non-terminal heavy atoms.

    >>> from boltzflow.molecules import load_system
    >>> [torsion.name for torsion in named_torsions(load_system("alanine_dipeptide"))]
    ['phi ALA2', 'psi ALA2']
    """
    frame = mdtraj.Trajectory(system.positions[None], system.mdtraj_topology)
    atoms, names = list(frame.topology.atoms), residue_names(frame.topology)
    backbone = [
        NamedTorsion(f"{kind} {names[atoms[four[carbon]].residue.index]}", tuple(map(int, four)))
        for kind, compute, carbon in (("phi", mdtraj.compute_phi, 2), ("psi", mdtraj.compute_psi, 1))
        for four in compute(frame, periodic=False)[0]
    ]
    if backbone:
        return sorted(backbone, key=lambda torsion: (torsion.atoms[1], torsion.atoms[0]))
    return _heavy_torsions(system)


def torsion_values(positions: Tensor, torsions: list[NamedTorsion]) -> Tensor:
    """Torsion angles of positions (batch, N, 3) → (batch, K) in rad.

    Raises:
        ShapeError: if the positions have another shape, or too few atoms.
    """
    most = max((atom for torsion in torsions for atom in torsion.atoms), default=-1)
    if positions.dim() != 3 or positions.shape[2] != 3 or positions.shape[1] <= most:
        raise ShapeError(f"Expected positions (batch, N, 3) in nm, N > {most}; got {tuple(positions.shape)}.")
    if not torsions:
        return positions.new_zeros(len(positions), 0)
    atoms = torch.tensor([torsion.atoms for torsion in torsions], device=positions.device)
    i, j, k, m = positions[:, atoms].unbind(2)
    return dihedral(i, j, k, m)


def _heavy_torsions(system: MolecularSystem) -> list[NamedTorsion]:
    heavy = [bool(atom.element and atom.element.atomic_number > 1) for atom in system.topology.atoms()]
    linked: list[set[int]] = [set() for _ in heavy]
    for i, j in system.bonds:
        if heavy[i] and heavy[j]:
            linked[i].add(j)
            linked[j].add(i)
    found = []
    for j, k in sorted(tuple(sorted(bond)) for bond in system.bonds):
        before, after = linked[j] - {k}, linked[k] - {j}
        ends = [(i, m) for i in sorted(before) for m in sorted(after) if i != m]
        if j in linked[k] and ends:
            four = (ends[0][0], j, k, ends[0][1])
            found.append(NamedTorsion("torsion " + " ".join(system.atom_names[a] for a in four), four))
    return found
