"""Features that distinguish structures, and superposed structures."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mdtraj
import numpy as np

from boltzflow.analysis.estimates.projections import torsion_features
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.molecules import named_torsions


def superposed_pdb(ensemble: Ensemble) -> list[str]:
    """Each frame as the text of a PDB file, superposed on the first by its heavy atoms."""
    trajectory = ensemble.to_mdtraj()
    trajectory.superpose(trajectory, atom_indices=heavy_atoms(trajectory.topology))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.pdb"
        texts = []
        for frame in trajectory:
            frame.save_pdb(str(path))
            texts.append(path.read_text(encoding="utf-8"))
    return texts


def heavy_atoms(topology: mdtraj.Topology) -> list[int]:
    """The heavy atoms; all atoms if there are fewer than three."""
    found = [atom.index for atom in topology.atoms if atom.element is not None and atom.element.number > 1]
    return found if len(found) > 2 else list(range(topology.n_atoms))


def shape_features(trajectory: mdtraj.Trajectory) -> Array:
    """Features (n, k) on one scale: `torsion_features`.

    A molecule without torsions is described by the positions of all atoms, superposed on the first frame by the heavy
    atoms.
    """
    if named_torsions(trajectory.topology):
        return torsion_features(trajectory)
    trajectory.superpose(trajectory, atom_indices=heavy_atoms(trajectory.topology))
    places: Array = trajectory.xyz.reshape(len(trajectory), -1).astype(np.float64)
    return places
