"""A few structures that stand for all, by their weights."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from boltzflow.analysis.internals import Observable, internal_observables, values_of
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble

_CLUSTERED = 1000  # frames


@dataclass(frozen=True)
class Representative:
    """The middle of a cluster.

    Attributes:
        frame: its index in the ensemble.
        share: the weight of the cluster.
    """

    frame: int
    share: float


def middles(ensemble: Ensemble, n: int = 5, seed: int = 0) -> list[Representative]:
    """The middles of n clusters, the heaviest first (Ward's method).

    Structures are told apart by one torsion about each bond between heavy atoms, or by the places of their atoms
    where there is none.

    Args:
        ensemble: with a topology; 1000 frames are drawn by their weights.
        n: at most so many.
        seed: of that draw.

    Raises:
        NonFiniteError: if no weight is positive.
    """
    random = torch.Generator().manual_seed(seed)
    drawn = importance.resample(torch.from_numpy(ensemble.log_weights), _CLUSTERED, random).numpy()
    features = _features(ensemble[drawn].to_mdtraj())
    labels = fcluster(linkage(features, "ward"), n, "maxclust")
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        middle = np.square(features[members] - features[members].mean(0)).sum(1).argmin()
        found.append(Representative(int(drawn[members[middle]]), len(members) / len(drawn)))
    return sorted(found, key=lambda r: -r.share)


def superposed_pdb(ensemble: Ensemble, frames: list[int]) -> list[str]:
    """Each frame as the text of a PDB file, turned onto the first by its heavy atoms."""
    trajectory = ensemble[np.array(frames)].to_mdtraj()
    trajectory.superpose(trajectory, atom_indices=_heavy(trajectory.topology))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.pdb"
        texts = []
        for frame in trajectory:
            frame.save_pdb(str(path))
            texts.append(path.read_text(encoding="utf-8"))
    return texts


def _heavy(topology: mdtraj.Topology) -> list[int]:
    found = [atom.index for atom in topology.atoms if atom.element is not None and atom.element.number > 1]
    return found if len(found) > 2 else list(range(topology.n_atoms))


def _features(trajectory: mdtraj.Trajectory) -> NDArray[np.float64]:
    """(n, features), on one scale."""
    heavy = set(_heavy(trajectory.topology))
    about: dict[frozenset[int], Observable] = {}
    for observable in internal_observables(trajectory.topology):
        if observable.kind == "torsion" and heavy.issuperset(observable.atoms):
            about.setdefault(frozenset(observable.atoms[1:3]), observable)
    if about:
        angles = values_of(list(about.values()), trajectory).astype(np.float64)
        return np.hstack([np.cos(angles), np.sin(angles)])
    trajectory.superpose(trajectory, atom_indices=sorted(heavy))
    places: NDArray[np.float64] = trajectory.xyz.reshape(len(trajectory), -1).astype(np.float64)
    return places
