"""Cartesian and mixed coordinates of a molecular system."""

from __future__ import annotations

from collections.abc import Sequence

import mdtraj
import openmm
import torch
from torch import Tensor

from boltzflow.coordinates import CartesianCoordinates, InternalCoordinates, MixedCoordinates, MolecularCoordinates
from boltzflow.coordinates.cartesian import internal_basis
from boltzflow.energies import Potential
from boltzflow.errors import ShapeError, TopologyError
from boltzflow.molecules.potentials import eager_potential
from boltzflow.units import thermal_energy

WIDEST = 0.05
"""Width in nm of a mode with zero or negative curvature."""

_STEP = 1e-4  # nm, of central differences
_AT_ONCE = 256  # structures


def mixed_coordinates(
    internal: InternalCoordinates,
    core: Sequence[int],
    system: openmm.System,
    positions: Tensor,
    temperature: float,
    trajectory: mdtraj.Trajectory | None,
) -> MolecularCoordinates:
    """Cartesian modes of a core, whitened by a trajectory or the Hessian, and internal coordinates of other atoms.

    Args:
        internal: internal coordinates of the whole molecule, with the core placed first.
        core: atoms, ascending; all atoms for purely Cartesian coordinates.
        system: its Hessian gives the modes if there is no trajectory.
        positions: the reference structure (N, 3), nm, float64.
        temperature: K.
        trajectory: frames of the whole molecule, or None.

    Raises:
        ShapeError: if the trajectory is of another molecule, or too short.
        TopologyError: if the core is collinear, or a constraint acts within it.
    """
    if trajectory is None:
        covariance = harmonic_covariance(eager_potential(system), positions, temperature)
        rows = torch.tensor([3 * atom + axis for atom in core for axis in range(3)])
        cartesian = CartesianCoordinates(positions[list(core)], covariance[rows][:, rows])
    else:
        if trajectory.n_atoms != len(positions):
            raise ShapeError(f"Expected a trajectory of {len(positions)} atoms; got {trajectory.n_atoms}.")
        cartesian = CartesianCoordinates.from_frames(trajectory.xyz[:, list(core)])
    if len(core) < len(positions):
        return MixedCoordinates(internal, cartesian, core)
    if internal.fixed:
        name = internal.physical_names[next(iter(internal.fixed))]
        raise TopologyError(
            f"Expected a molecule without constraints for Cartesian coordinates; {name} is constrained: build the "
            "system with constraints='none', or choose a core without it."
        )
    return cartesian


def harmonic_covariance(potential: Potential, positions: Tensor, temperature: float) -> Tensor:
    """Covariance kT H⁻¹ (3N, 3N), nm², in the harmonic approximation at a structure (N, 3), nm.

    The Hessian H is computed from central differences of forces. The width of a mode is limited to 0.05 nm; modes of
    negative curvature, which occur if the structure is not a minimum, get this width. Rigid motion is left out.
    """
    n = len(positions)
    steps = _STEP * torch.eye(3 * n, dtype=torch.float64).view(3 * n, n, 3)
    frames = torch.cat([positions + steps, positions - steps])
    forces = (
        torch.cat([potential.energy_and_forces(some)[1] for some in torch.split(frames, _AT_ONCE)]).flatten(1).double()
    )
    hessian = (forces[3 * n :] - forces[: 3 * n]) / (2 * _STEP)
    basis = internal_basis(positions - positions.mean(0))
    stiffness, vectors = torch.linalg.eigh(basis.T @ (hessian + hessian.T) @ basis / 2)
    kt = thermal_energy(temperature)
    modes = basis @ vectors
    covariance: Tensor = (modes * (kt / stiffness.clamp(min=kt / WIDEST**2))) @ modes.T
    return covariance
