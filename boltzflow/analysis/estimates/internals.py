"""The bonds, angles and torsions of a molecule as observables, named by their atoms."""

from __future__ import annotations

from typing import Literal, NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.molecules import rotatable_torsions
from boltzflow.molecules.naming import residue_names

Chains = list[tuple[int, ...]]
Kind = Literal["bond", "angle", "torsion", "energy"]


class Observable(NamedTuple):
    """An observable with one number for each frame.

    Attributes:
        name: such as "phi ALA2", or "bond ALA2-N ALA2-CA".
        kind: the type of observable; torsions are periodic.
        atoms: two to four atoms; none for the energy.
    """

    name: str
    kind: Kind
    atoms: tuple[int, ...]

    @property
    def unit(self) -> str:
        """The unit of its values."""
        return {"bond": "nm", "angle": "rad", "torsion": "rad", "energy": "kJ/mol"}[self.kind]


ENERGY = Observable("potential energy", "energy", ())


def internal_observables(topology: mdtraj.Topology) -> list[Observable]:
    """The torsions about rotatable bonds by their names, then all bonds, angles and other proper torsions.

    >>> import boltzflow as bf
    >>> found = internal_observables(bf.load_system("alanine_dipeptide").mdtraj_topology)
    >>> len(found), found[1].name, found[4].name
    (98, 'phi ALA2', 'bond ACE1-CH3 ACE1-C')
    """
    atoms, names = list(topology.atoms), residue_names(topology)
    found = [Observable(torsion.name, "torsion", torsion.atoms) for torsion in rotatable_torsions(topology)]
    known = {torsion.atoms for torsion in found}
    kinds: tuple[Kind, ...] = ("bond", "angle", "torsion")
    for kind, members in zip(kinds, bonded_chains(topology), strict=True):
        for chain in members:
            if chain not in known and chain[::-1] not in known:
                named = (f"{names[atoms[a].residue.index]}-{atoms[a].name}" for a in chain)
                found.append(Observable(" ".join([kind, *named]), kind, chain))
    return found


def values_of(observables: list[Observable], trajectory: mdtraj.Trajectory) -> NDArray[np.float32]:
    """Bonds (nm), angles and torsions (rad, −π to π) in every frame, (n, observables)."""
    values = np.zeros((trajectory.n_frames, len(observables)), np.float32)
    computed = (
        ("bond", mdtraj.compute_distances),
        ("angle", mdtraj.compute_angles),
        ("torsion", mdtraj.compute_dihedrals),
    )
    for kind, compute in computed:
        columns = [i for i, observable in enumerate(observables) if observable.kind == kind]
        if columns:
            values[:, columns] = compute(trajectory, np.array([observables[i].atoms for i in columns]), periodic=False)
    return values


def bonded_chains(
    topology: mdtraj.Topology,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Chains of two, three and four bonded atoms, each once."""
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds]
    linked: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for i, j in bonds:
        linked[i].append(j)
        linked[j].append(i)
    angles = [(i, j, k) for j, around in enumerate(linked) for i in around for k in around if i < k]
    torsions = [(i, j, k, m) for j, k in bonds for i in linked[j] for m in linked[k] if i != k and m not in (i, j)]
    return bonds, angles, torsions  # type: ignore[return-value]
