"""Whether the structures are sound: bonds and angles near the force field's values, amino acids in the L form."""

from __future__ import annotations

from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.ensemble import Ensemble
from boltzflow.molecules import MolecularSystem
from boltzflow.molecules.parameters import angle_terms, bond_terms
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.units import thermal_energy


@dataclass(frozen=True)
class GeometryCheck:
    """Deviations of bonds and angles from the force field's equilibrium values, in thermal widths σ = √(kT/k).

    Attributes:
        sigmas: the limit for `share_outside`, in σ.
        share_outside: weighted fraction of samples with a bond or angle beyond the limit; about 0 is normal.
        worst: name of the bond or angle that deviates most.
        worst_rms: its weighted root mean square deviation in σ; about 1 is normal.
    """

    sigmas: float
    share_outside: float
    worst: str
    worst_rms: float


def check_geometry(ensemble: Ensemble, system: MolecularSystem, sigmas: float = 6.0) -> GeometryCheck | None:
    """Compare all harmonic bonds and angles of the samples with the force field of `system`.

    Returns None if the force field has no harmonic bonds or angles.

    Raises:
        ShapeError: if the samples are of another molecule.
        DataError: if they have no topology.
        NonFiniteError: if no weight is positive.
    """
    ensemble = ensemble[ensemble.weights > 0]
    trajectory, weights = ensemble.to_mdtraj(), ensemble.weights
    check_same_atoms(system.mdtraj_topology, trajectory.topology, "samples", system.name)
    hamiltonian = system.openmm_system
    bonds, angles = bond_terms(hamiltonian), angle_terms(hamiltonian)
    if not bonds and not angles:
        return None
    values = np.hstack(
        [
            mdtraj.compute_distances(trajectory, np.array([t[:2] for t in bonds], int).reshape(-1, 2), periodic=False),
            mdtraj.compute_angles(trajectory, np.array([t[:3] for t in angles], int).reshape(-1, 3), periodic=False),
        ]
    )
    equilibrium, stiffness = np.array([term[-2:] for term in [*bonds, *angles]]).T
    deviations = (values - equilibrium) / np.sqrt(thermal_energy(ensemble.temperature) / stiffness)
    rms = np.sqrt(weights @ deviations**2)
    worst = int(rms.argmax())
    atoms = [*bonds, *angles][worst][:-2]
    return GeometryCheck(
        sigmas=sigmas,
        share_outside=float(weights[(np.abs(deviations) > sigmas).any(1)].sum()),
        worst=" ".join(["bond" if len(atoms) == 2 else "angle", *(system.atom_names[int(i)] for i in atoms)]),
        worst_rms=float(rms[worst]),
    )


def inverted_chirality(trajectory: mdtraj.Trajectory) -> NDArray[np.bool_]:
    """Which frames (n,) contain an amino acid of inverted chirality (the D form); glycine is achiral.

    The chirality is that of the tetrahedron of the alpha carbon's four neighbours. It does not change if a strained
    carbon lies in the plane of three of them. If there is no alpha hydrogen, the carbon takes its place.
    """
    inverted = np.zeros(trajectory.n_frames, dtype=bool)
    for residue in trajectory.topology.residues:
        atoms = {atom.name: atom.index for atom in residue.atoms}
        if {"N", "CA", "C", "CB"} <= atoms.keys():
            last = trajectory.xyz[:, atoms.get("HA", atoms["CA"])]
            n, c, cb = (trajectory.xyz[:, atoms[name]] - last for name in ("N", "C", "CB"))
            # Seen from the hydrogen, CO, R, N go clockwise in an L amino acid ("CORN").
            inverted |= (np.cross(n, c) * cb).sum(-1) < 0
    return inverted
