"""The size of a molecule in every frame: radius of gyration, end-to-end distance."""

from __future__ import annotations

import mdtraj
import numpy as np
import torch

from boltzflow.arrays import Array
from boltzflow.errors import OptionError, TopologyError

_AT_ONCE = 2**24  # distances


def radius_of_gyration(trajectory: mdtraj.Trajectory) -> Array:
    """The radius of gyration about the centre of mass, each atom weighted by its mass, (n,) nm.

    √(Σ m |x − x̄|² / Σ m). `mdtraj.compute_rg` gives all atoms equal weights by default, and if it gets masses, it still
    measures from the geometric centre (mdtraj 1.11).

    Args:
        trajectory: n frames.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> radius_of_gyration(mdtraj.Trajectory(system.positions, system.mdtraj_topology)).round(3)
    array([0.252])
    """
    atoms = trajectory.topology.atoms
    masses = np.array([0.0 if atom.element is None else atom.element.mass for atom in atoms])
    weights = masses / masses.sum()
    x = trajectory.xyz.astype(np.float64)
    centred = x - (weights @ x)[:, None]
    radius: Array = np.sqrt(np.square(centred).sum(2) @ weights)
    return radius


def end_to_end_distance(trajectory: mdtraj.Trajectory, chain: int = 0) -> Array:
    """The distance between the ends of a chain, (n,) nm.

    The ends of a peptide are the first N and the last C of its amino acids, or the C and N of caps that are bound to
    them. The ends of a nucleic acid are P (O5' if there is none) of its first and O3' of its last nucleotide. Of any
    other molecule it is the largest distance between two heavy atoms of the chain in each frame.

    Args:
        trajectory: n frames.
        chain: the number of the chain, from 0.

    Raises:
        OptionError: if there is no such chain.
        TopologyError: if the chain has fewer than two heavy atoms.

    >>> import boltzflow as bf
    >>> system = bf.load_system("ala3")
    >>> end_to_end_distance(mdtraj.Trajectory(system.positions, system.mdtraj_topology)).shape
    (1,)
    """
    topology = trajectory.topology
    if not 0 <= chain < topology.n_chains:
        raise OptionError(f"Expected a chain from 0 to {topology.n_chains - 1}; got {chain}.")
    x = trajectory.xyz.astype(np.float64)
    ends = chain_ends(topology, chain)
    if ends is not None:
        between: Array = np.linalg.norm(x[:, ends[0]] - x[:, ends[1]], axis=1)
        return between
    atoms = topology.chain(chain).atoms
    heavy = [atom.index for atom in atoms if atom.element is not None and atom.element.number > 1]
    if len(heavy) < 2:
        raise TopologyError(f"Expected a chain of at least two heavy atoms; chain {chain} has {len(heavy)}.")
    frames = max(1, _AT_ONCE // len(heavy) ** 2)
    blocks = [torch.from_numpy(x[start : start + frames, heavy]) for start in range(0, len(x), frames)]
    largest = [torch.cdist(b, b, compute_mode="donot_use_mm_for_euclid_dist").amax((1, 2)) for b in blocks]
    farthest: Array = torch.cat(largest).numpy()
    return farthest


def chain_ends(topology: mdtraj.Topology, chain: int = 0) -> tuple[int, int] | None:
    """The first and last heavy atom of a backbone, as `end_to_end_distance` describes; None without a backbone.

    >>> import boltzflow as bf
    >>> topology = bf.load_system("alanine_dipeptide").mdtraj_topology
    >>> [str(topology.atom(end)) for end in chain_ends(topology)]
    ['ACE1-C', 'NME3-N']
    """
    residues = [{atom.name: atom.index for atom in residue.atoms} for residue in topology.chain(chain).residues]
    amino_acids = [atoms for atoms in residues if {"N", "CA", "C"} <= atoms.keys()]
    if amino_acids:
        first, last = amino_acids[0]["N"], amino_acids[-1]["C"]
        return _cap(topology, first, "C"), _cap(topology, last, "N")
    nucleotides = [atoms for atoms in residues if {"C3'", "C4'", "C5'", "O3'", "O5'"} <= atoms.keys()]
    if nucleotides:
        return nucleotides[0].get("P", nucleotides[0]["O5'"]), nucleotides[-1]["O3'"]
    return None


def _cap(topology: mdtraj.Topology, end: int, name: str) -> int:
    """The atom of this name in another residue that is bound to the end; else the end."""
    for bond in topology.bonds:
        for here, there in ((bond.atom1, bond.atom2), (bond.atom2, bond.atom1)):
            if here.index == end and there.name == name and there.residue is not here.residue:
                return int(there.index)
    return end
