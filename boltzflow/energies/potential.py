"""A potential energy of molecules: batched, differentiable, energy and forces in one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boltzflow.arrays import Array
from boltzflow.errors import IntractableDensityError, ShapeError

FRAMES_AT_ONCE = 1024
"""Number of frames that are evaluated together; limits memory."""


class Potential(nn.Module, ABC):
    """Potential energy U in kJ/mol of `n_atoms` atoms at positions in nm.

    Calling a potential returns a differentiable energy. Its negative gradient is the force, computed in the same pass.
    A frame that cannot be evaluated gets the energy +inf and zero forces, and does not affect other frames. A frame
    cannot be evaluated if its energy or a force is not finite.

    Attributes:
        n_atoms: the number of atoms.
        evaluations: the number of frames evaluated so far.
    """

    def __init__(self, n_atoms: int) -> None:
        super().__init__()
        self.n_atoms = n_atoms
        self.evaluations = 0
        self._failed: Tensor = torch.zeros((), dtype=torch.long)  # on the energies' device, to avoid synchronisation

    @property
    def failed(self) -> int:
        """The number of frames so far that could not be evaluated."""
        return int(self._failed)

    def forward(self, positions: Tensor) -> Tensor:
        """Differentiable energies. positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol.

        Raises:
            ShapeError: if `positions` has another shape.
        """
        if torch.is_grad_enabled() and positions.requires_grad:
            energy: Tensor = _EnergyWithForces.apply(positions, self)  # type: ignore[no-untyped-call]
            return energy
        return self.energy(positions)

    @torch.no_grad()
    def energy(self, positions: Tensor) -> Tensor:
        """Energies, without autograd. positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol.

        Raises:
            ShapeError: if `positions` has another shape.
        """
        self._count(positions)
        energy = finite_or_inf(self._energy(positions.detach()))
        self._count_failed(energy)
        return energy

    @torch.no_grad()
    def energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and forces from one pass, without autograd.

        positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol, (batch, n_atoms, 3) kJ/(mol nm).

        Raises:
            ShapeError: if `positions` has another shape.
        """
        self._count(positions)
        energy, forces = _without_failures(*self._energy_and_forces(positions.detach()))
        self._count_failed(energy)
        return energy, forces

    def differentiable_energy(self, positions: Tensor) -> Tensor:
        """Energies, differentiable to any order by autograd; slow, used for second derivatives.

        positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol.

        Raises:
            IntractableDensityError: if this potential computes only energies and forces.
        """
        raise IntractableDensityError(
            f"Expected a potential with second derivatives; {type(self).__name__} computes only energies and forces."
        )

    @abstractmethod
    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and forces (batch, n_atoms, 3); may be non-finite."""

    def _energy(self, positions: Tensor) -> Tensor:
        """Energies (batch,); may be non-finite. Override it if energies alone are cheaper."""
        return _without_failures(*self._energy_and_forces(positions))[0]

    def _count(self, positions: Tensor) -> None:
        if not isinstance(positions, Tensor):
            raise ShapeError(f"{type(self).__name__}: expected positions as a tensor; got {type(positions).__name__}.")
        if positions.dim() != 3 or tuple(positions.shape[1:]) != (self.n_atoms, 3):
            raise ShapeError(
                f"{type(self).__name__}: expected positions of shape (batch, {self.n_atoms}, 3) in nm; "
                f"got {tuple(positions.shape)}."
            )
        self.evaluations += positions.shape[0]

    def _count_failed(self, energy: Tensor) -> None:
        self._failed = self._failed.to(energy.device) + energy.isinf().sum()


def energies_of_frames(potential: Potential, positions: NDArray[Any], like: Tensor | None = None) -> Array:
    """Energies (n,) in kJ/mol of frames (n, n_atoms, 3) in nm, in batches; +inf for frames that cannot be evaluated.

    Args:
        potential: a potential of the same number of atoms.
        positions: of any floating dtype.
        like: a tensor with the dtype and device to use; by default the dtype of the positions, on the CPU.

    Raises:
        ShapeError: if the frames have another shape.
    """
    parts = [potential.energy(x) for x in in_parts(positions, like)]
    return torch.cat(parts).double().cpu().numpy()


def in_parts(positions: NDArray[Any], like: Tensor | None = None) -> Iterator[Tensor]:
    """Frames (n, …) as tensors of at most `FRAMES_AT_ONCE` frames, in the dtype and on the device of `like`.

    >>> [len(part) for part in in_parts(np.zeros((2500, 1, 3)))]
    [1024, 1024, 452]
    """
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(positions)), FRAMES_AT_ONCE):
        yield part if like is None else part.to(like)


def finite_or_inf(energy: Tensor) -> Tensor:
    """Every non-finite energy replaced by +inf."""
    return torch.where(torch.isfinite(energy), energy, torch.inf)


def _without_failures(energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (batch,) and forces (batch, N, 3); frames with a non-finite value get energy +inf and zero forces."""
    usable = energy * 0.0 + (forces * 0.0).flatten(1).sum(1) == 0.0  # ten times faster than isfinite
    return torch.where(usable, energy, torch.inf), torch.where(usable[:, None, None], forces, 0.0)


class _EnergyWithForces(torch.autograd.Function):
    """Energy whose backward pass uses the forces that the forward pass has stored."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, potential: Potential) -> Tensor:
        energy, forces = potential.energy_and_forces(positions)
        ctx.save_for_backward(positions, forces, energy.isfinite())
        ctx.potential = potential
        return energy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        positions, forces, is_sound = ctx.saved_tensors
        if torch.is_grad_enabled():  # only with create_graph=True: second derivatives are requested
            energy = ctx.potential.differentiable_energy(positions[is_sound])
            (gradient,) = torch.autograd.grad(energy, positions, grad[is_sound], create_graph=True)
            return gradient, None
        # A frame without forces has zero gradient, even if the incoming gradient is infinite (0 · inf would be NaN).
        return torch.where(forces == 0, 0.0, -grad[:, None, None] * forces), None
