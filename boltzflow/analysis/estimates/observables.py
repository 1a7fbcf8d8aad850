"""Observables of a trajectory, including those of mdtraj in a form that supports weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import mdtraj
import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.axes import collective_variable
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.estimate import Estimate
from boltzflow.molecules import NamedTorsion, rotatable_torsions
from boltzflow.molecules.naming import residue_names

_COUPLINGS = {
    "HN HA": mdtraj.compute_J3_HN_HA,
    "HN CB": mdtraj.compute_J3_HN_CB,
    "HN C": mdtraj.compute_J3_HN_C,
}
_REACH, _STRAIGHT = 0.25, 2 * np.pi / 3  # of Baker and Hubbard's hydrogen bonds: nm, rad


class Labelled(NamedTuple):
    """Several observables in every frame.

    Attributes:
        names: of the k observables.
        values: (n, k), numbers, or booleans whose means are fractions.
    """

    names: list[str]
    values: NDArray[Any]


class Torsion(NamedTuple):
    """A backbone torsion in every frame.

    Attributes:
        kind: "phi" or "psi".
        residue: such as "ALA2".
        values: (n,) in rad, in [−π, π).
    """

    kind: str
    residue: str
    values: Array

    @property
    def name(self) -> str:
        """The name, such as "phi ALA2"."""
        return f"{self.kind} {self.residue}"


def backbone_torsions(trajectory: mdtraj.Trajectory) -> list[Torsion]:
    """φ and ψ of every residue that has both, in the order of residues, φ first."""
    named = [torsion for torsion in rotatable_torsions(trajectory.topology) if torsion.kind in ("phi", "psi")]
    both = {a.place for a, b in pairwise(named) if (a.kind, b.kind) == ("phi", "psi") and a.place == b.place}
    chosen = [torsion for torsion in named if torsion.place in both]
    values = torsion_angles(trajectory, chosen)
    return [Torsion(torsion.kind, torsion.place, values[:, k]) for k, torsion in enumerate(chosen)]


def torsion_angles(trajectory: mdtraj.Trajectory, torsions: Sequence[NamedTorsion]) -> Array:
    """The torsions in every frame, (n, torsions) in rad, in [−π, π).

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> frame = mdtraj.Trajectory(system.positions[None], system.mdtraj_topology)
    >>> np.degrees(torsion_angles(frame, rotatable_torsions(frame.topology))).round().tolist()
    [[-180.0]]
    """
    if not torsions:
        return np.zeros((trajectory.n_frames, 0))
    atoms = np.array([torsion.atoms for torsion in torsions])
    angles = mdtraj.compute_dihedrals(trajectory, atoms, periodic=False).astype(np.float64)
    wrapped: Array = (angles + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def means(ensemble: Ensemble, observable: Callable[[mdtraj.Trajectory], Labelled]) -> dict[str, Estimate]:
    """Boltzmann averages of observables, by name, with standard errors.

    Args:
        ensemble: with a topology.
        observable: such as `hydrogen_bonds`, `secondary_structure` or `j_couplings`.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> import boltzflow as bf
    >>> system = bf.load_system("ala3")
    >>> one = Ensemble(system.positions[None], [0.0], 300.0, topology=system.mdtraj_topology)
    >>> sorted(means(one, j_couplings))
    ['J(HN HA) ALA2', 'J(HN HA) ALA3', 'J(HN HA) ALA4']
    """
    used = ensemble[ensemble.weights > 0]  # in one call, since it returns names and values together
    names, values = observable(used.to_mdtraj())
    return {name: used.mean(column) for name, column in zip(names, np.asarray(values).T, strict=True)}


def circular_mean(ensemble: Ensemble, angles: Observable) -> Estimate:
    """The circular mean, the argument of ⟨exp(iθ)⟩ in (−π, π] rad, with its standard error (delta method).

    The error grows as 1/|⟨exp(iθ)⟩|: angles that are spread over the whole circle have no mean direction.

    Args:
        ensemble: n frames, with their weights and groups.
        angles: in rad, as in `Ensemble.mean`: a function of the trajectory, or (n,).

    Raises:
        ShapeError: if there is not one angle for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has an angle that is not finite.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), np.zeros(2), 300.0)
    >>> round(circular_mean(ensemble, [3.1, -3.1]).value, 3)
    3.142
    """
    theta, weighting = torch.from_numpy(collective_variable(ensemble, angles)), ensemble.weighting
    (c, s), _ = importance.weighted_mean(torch.stack([theta.cos(), theta.sin()], 1), *weighting)
    direction = torch.atan2(s, c)
    _, across = importance.weighted_mean(torch.sin(theta - direction), *weighting)
    return Estimate(direction.item(), (across / torch.hypot(c, s)).item())


def hydrogen_bonds(
    trajectory: mdtraj.Trajectory, criterion: Literal["Baker-Hubbard", "Wernet-Nilsson"] = "Baker-Hubbard"
) -> Labelled:
    """Whether each hydrogen bond is formed, for all bonds that occur in any frame.

    Args:
        trajectory: n frames.
        criterion: Baker & Hubbard (1984): the hydrogen–acceptor distance is below 0.25 nm, and the angle
            donor–hydrogen–acceptor exceeds 120°. Wernet et al. (2004): the acceptor lies within a cone about the
            donor–hydrogen bond.

    Returns:
        Names such as "ALA4-N-H → ACE1-O", values (n, bonds) booleans.
    """
    if criterion == "Baker-Hubbard":
        # mdtraj keeps bonds that occur in more than a fraction of the frames, regardless of weights.
        bonds = mdtraj.baker_hubbard(trajectory, freq=0.0, periodic=False)
        there = meets_baker_hubbard(trajectory, bonds)
    else:
        found = mdtraj.wernet_nilsson(trajectory, periodic=False)
        bonds = np.unique(np.concatenate(found), axis=0)
        there = np.stack([(bonds[:, None] == frame).all(2).any(1) for frame in found])
    return Labelled(label_bonds(trajectory.topology, bonds), there)


def meets_baker_hubbard(trajectory: mdtraj.Trajectory, bonds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each hydrogen bond is formed by the criterion of Baker & Hubbard, (n, k).

    Args:
        trajectory: n frames.
        bonds: donor, hydrogen and acceptor of each, (k, 3).
    """
    if len(bonds) == 0:
        return np.zeros((trajectory.n_frames, 0), bool)
    near = mdtraj.compute_distances(trajectory, bonds[:, 1:], periodic=False) < _REACH
    formed: NDArray[np.bool_] = near & (mdtraj.compute_angles(trajectory, bonds, periodic=False) > _STRAIGHT)
    return formed


def label_bonds(topology: mdtraj.Topology, bonds: NDArray[np.int64]) -> list[str]:
    """Names of hydrogen bonds (k, 3), such as "ALA4-N-H → ACE1-O"."""
    names = residue_names(topology)
    atoms = [f"{names[atom.residue.index]}-{atom.name}" for atom in topology.atoms]
    hydrogens = [atom.name for atom in topology.atoms]
    return [f"{atoms[d]}-{hydrogens[h]} → {atoms[a]}" for d, h, a in bonds]


def secondary_structure(trajectory: mdtraj.Trajectory, simplified: bool = True) -> Labelled:
    """The secondary structure of each amino acid, by DSSP (Kabsch & Sander 1983), one boolean for each code.

    Args:
        trajectory: of a peptide.
        simplified: use helix H, strand E and coil C; otherwise all eight codes, with a blank for loops.

    Returns:
        Names such as "H ALA2", values (n, residues · codes) booleans.
    """
    codes = mdtraj.compute_dssp(trajectory, simplified=simplified)
    letters = "HEC" if simplified else "HBEGITS "
    residues = [r for r in trajectory.topology.residues if (codes[:, r.index] != "NA").all()]
    residue_name = residue_names(trajectory.topology)
    names = [f"{letter} {residue_name[residue.index]}" for residue in residues for letter in letters]
    found = [codes[:, residue.index] == letter for residue in residues for letter in letters]
    return Labelled(names, np.stack(found, 1) if found else np.zeros((trajectory.n_frames, 0), bool))


def j_couplings(trajectory: mdtraj.Trajectory, kind: Literal["HN HA", "HN CB", "HN C"] = "HN HA") -> Labelled:
    """³J couplings about φ in Hz by mdtraj's Karplus relation: names such as "J(HN HA) ALA2", values (n, k)."""
    indices, values = _COUPLINGS[kind](trajectory)
    atoms, names = list(trajectory.topology.atoms), residue_names(trajectory.topology)
    return Labelled([f"J({kind}) {names[atoms[four[2]].residue.index]}" for four in indices], values)
