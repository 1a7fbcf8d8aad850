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
"""So many are evaluated together where there are many: it bounds the memory."""


class Potential(nn.Module, ABC):
    """Potential energy U in kJ/mol of `n_atoms` atoms at positions in nm.

    Calling a potential gives a differentiable energy; its gradient is the force, from the same pass.
    A frame that cannot be evaluated has energy +inf and no force; it never changes its neighbours. That is a frame
    whose energy is not finite, and one whose energy is finite and whose forces are not: nothing can move it.

    Attributes:
        n_atoms: the number of atoms.
        evaluations: how many frames have been evaluated so far.
    """

    def __init__(self, n_atoms: int) -> None:
        super().__init__()
        self.n_atoms = n_atoms
        self.evaluations = 0
        self._failed: Tensor = torch.zeros((), dtype=torch.long)  # where energies are, so that nobody waits for it

    @property
    def failed(self) -> int:
        """How many frames could not be evaluated so far."""
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
        """Energies, outside autograd. positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol.

        Raises:
            ShapeError: if `positions` has another shape.
        """
        self._count(positions)
        energy = finite_or_inf(self._energy(positions.detach()))
        self._count_failed(energy)
        return energy

    @torch.no_grad()
    def energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and forces of one pass, outside autograd.

        positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol, (batch, n_atoms, 3) kJ/(mol nm).

        Raises:
            ShapeError: if `positions` has another shape.
        """
        self._count(positions)
        energy, forces = _without_failures(*self._energy_and_forces(positions.detach()))
        self._count_failed(energy)
        return energy, forces

    def differentiable_energy(self, positions: Tensor) -> Tensor:
        """Energies through plain autograd, to any order; slow, used for second derivatives.

        positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol.

        Raises:
            IntractableDensityError: if this potential knows energies and forces only.
        """
        raise IntractableDensityError(f"{type(self).__name__} has forces, but no second derivatives.")

    @abstractmethod
    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and forces (batch, n_atoms, 3); may be non-finite."""

    def _energy(self, positions: Tensor) -> Tensor:
        """Energies (batch,); may be non-finite. For potentials that can do without forces."""
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
    """Energies (n,) in kJ/mol of frames (n, n_atoms, 3) in nm, some at a time; +inf where one cannot be evaluated.

    Args:
        potential: of as many atoms.
        positions: of any floating dtype.
        like: a tensor of the dtype and the device to evaluate with; those of the positions, on the CPU, if not given.

    Raises:
        ShapeError: if the frames have another shape.
    """
    parts = [potential.energy(x) for x in in_parts(positions, like)]
    return torch.cat(parts).double().cpu().numpy()


def in_parts(positions: NDArray[Any], like: Tensor | None = None) -> Iterator[Tensor]:
    """Frames (n, …) as tensors of at most `FRAMES_AT_ONCE` each, of the dtype and on the device of `like`.

    >>> [len(part) for part in in_parts(np.zeros((2500, 1, 3)))]
    [1024, 1024, 452]
    """
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(positions)), FRAMES_AT_ONCE):
        yield part if like is None else part.to(like)


def finite_or_inf(energy: Tensor) -> Tensor:
    """Every non-finite energy replaced by +inf."""
    return torch.where(torch.isfinite(energy), energy, torch.inf)


def _without_failures(energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (batch,) and forces (batch, N, 3) with +inf and zeros for the frames where one of them is not finite."""
    usable = energy * 0.0 + (forces * 0.0).flatten(1).sum(1) == 0.0  # a tenth of the time of isfinite
    return torch.where(usable, energy, torch.inf), torch.where(usable[:, None, None], forces, 0.0)


class _EnergyWithForces(torch.autograd.Function):
    """Energy whose backward pass multiplies the forces that the forward pass has kept."""

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
        if torch.is_grad_enabled():  # only under create_graph=True: someone wants second derivatives
            energy = ctx.potential.differentiable_energy(positions[is_sound])
            (gradient,) = torch.autograd.grad(energy, positions, grad[is_sound], create_graph=True)
            return gradient, None
        # A frame without forces passes no gradient on, whatever its incoming one is (0 · inf would be NaN).
        return torch.where(forces == 0, 0.0, -grad[:, None, None] * forces), None
