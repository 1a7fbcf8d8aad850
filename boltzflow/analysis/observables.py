"""Observables of a trajectory."""

from __future__ import annotations

from typing import NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray


class Torsion(NamedTuple):
    """A backbone torsion in every frame.

    Attributes:
        kind: "phi" or "psi".
        residue: such as "ALA2".
        values: (n,) in rad, in [−π, π).
    """

    kind: str
    residue: str
    values: NDArray[np.float64]

    @property
    def name(self) -> str:
        """Such as "phi ALA2"."""
        return f"{self.kind} {self.residue}"


def backbone_torsions(trajectory: mdtraj.Trajectory) -> list[Torsion]:
    """φ and ψ of every residue that has both, in the order of residues, φ first."""
    atoms = list(trajectory.topology.atoms)
    # Both belong to the residue of their alpha carbon: the third atom of φ, the second of ψ.
    phi = {str(atoms[i[2]].residue): v for i, v in _columns(*mdtraj.compute_phi(trajectory, periodic=False))}
    psi = {str(atoms[i[1]].residue): v for i, v in _columns(*mdtraj.compute_psi(trajectory, periodic=False))}
    found = []
    for residue in phi:
        if residue in psi:
            found += [Torsion("phi", residue, phi[residue]), Torsion("psi", residue, psi[residue])]
    return found


def _columns(indices: NDArray[np.int64], values: NDArray[np.float32]) -> list[tuple[list[int], NDArray[np.float64]]]:
    wrapped = (values.astype(np.float64) + np.pi) % (2 * np.pi) - np.pi
    return [(list(four), wrapped[:, k]) for k, four in enumerate(indices)]
