"""The base class of force-field terms, and shared arithmetic.

Terms work on positions of shape (3, N, batch). With the batch last, each operation runs along
contiguous memory and compiles to vector instructions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import openmm
import torch
from torch import Tensor, nn

from boltzflow.errors import UnsupportedForceError

Box = Tensor
"""The vectors of a periodic box in the reduced form that OpenMM requires, as rows: (3, 3), nm."""


class Term(nn.Module, ABC):
    """One family of terms of a force field. Constants are float64 buffers, cast by the potential."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (3, N, batch) nm → energies (batch,) kJ/mol, forces (3, N, batch) kJ/(mol nm).

        Forces are computed analytically, so that one fused graph gives both, without autograd. The energy is
        differentiable to any order.
        """


class Gather(nn.Module):
    """Gathers the atoms of M terms of `width` atoms each, and sums forces on terms to forces on atoms.

    The sum is a gather too (each atom looks up its rows, padded with a row of zeros), because a scatter needs
    atomic additions, which are slow.
    """

    rows: Tensor
    table: Tensor

    def __init__(self, atoms: Sequence[Sequence[int]], n_atoms: int) -> None:
        super().__init__()
        self.width = len(atoms[0])
        rows = torch.tensor(atoms).T.flatten()
        owned = [torch.nonzero(rows == atom).flatten() for atom in range(n_atoms)]
        table = nn.utils.rnn.pad_sequence(owned, batch_first=True, padding_value=len(rows))
        self.register_buffer("rows", rows)
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (3, N, batch) → `width` tensors (3, M, batch)."""
        return x.index_select(1, self.rows).chunk(self.width, 1)

    def collect(self, *parts: Tensor) -> Tensor:
        """`width` tensors (3, M, batch) → their sums on atoms (3, N, batch)."""
        padded = torch.cat([*parts, torch.zeros_like(parts[0][:, :1])], 1)
        # Unrolled, because the compiler would vectorise a reduction over rows, not over the batch.
        first, *others = self.table.unbind(1)
        total = padded.index_select(1, first)
        for rows in others:
            total = total + padded.index_select(1, rows)
        return total


class Named(nn.Module):
    """Constants by name, which are cast and moved together with their term."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(values)
        for name, value in values.items():
            self.register_buffer(f"of_{name}", value)  # the prefix avoids clashes with attributes of modules

    def as_dict(self) -> dict[str, Tensor]:
        """The constants by name, in their present dtype and on their present device."""
        return {name: getattr(self, f"of_{name}") for name in self.names}


def masked(mask: Tensor, value: Tensor | float, like: Tensor) -> Tensor:
    """The value of an expression where a mask is true, zero elsewhere; in the dtype and on the device of `like`.

    Apply the mask before any other operation. Otherwise a gradient can become NaN, as zero times infinity.
    """
    return torch.where(mask, torch.as_tensor(value, dtype=like.dtype, device=like.device), 0.0)


def column(values: Sequence[float]) -> Tensor:
    """Constants (M, 1): one per term, broadcast over the batch."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of (3, …, batch) along the first axis."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Vector products of (3, …, batch) along the first axis."""
    return torch.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
    )


def displacement(a: Tensor, b: Tensor, box: Box | None) -> Tensor:
    """a − b (3, …); in a periodic box, between nearest images."""
    d = a - b
    return d if box is None else torch.stack(nearest_image(list(d.unbind(0)), box))


def nearest_image(d: list[Tensor], box: Box) -> list[Tensor]:
    """The three components of displacements to the nearest image, reduced box vector by box vector, as in OpenMM."""
    x, y, z = d
    shift = torch.floor(z / box[2, 2] + 0.5)
    x, y, z = x - box[2, 0] * shift, y - box[2, 1] * shift, z - box[2, 2] * shift
    shift = torch.floor(y / box[1, 1] + 0.5)
    x, y = x - box[1, 0] * shift, y - box[1, 1] * shift
    return [x - box[0, 0] * torch.floor(x / box[0, 0] + 0.5), y, z]


def pair_displacements(x: Tensor, box: Box | None = None) -> tuple[list[Tensor], Tensor]:
    """x: (3, N, batch) → the three components of x_i − x_j and its square, each (N, N, batch)."""
    d = [component[:, None] - component for component in x.unbind(0)]
    if box is not None:
        d = nearest_image(d, box)
    return d, d[0] * d[0] + d[1] * d[1] + d[2] * d[2]


def pair_forces(weight: Tensor, d: list[Tensor]) -> Tensor:
    """Σⱼ weight_ij (x_i − x_j): (N, N, batch) → (3, N, batch).

    Three sums instead of one over a stacked tensor fuse into one loop that reads the weights once.
    """
    return torch.stack([(weight * component).sum(1) for component in d])


def unsupported(force: openmm.Force, reason: str) -> UnsupportedForceError:
    """The error for a force that has no native translation."""
    return UnsupportedForceError(
        f"{force.getName()} ({type(force).__name__}) has no native torch translation: {reason}; "
        "the OpenMM backend evaluates any force."
    )
