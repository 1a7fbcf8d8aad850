"""Cartesian coordinates without the mean only: for clusters, and for rotation-equivariant flows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.errors import OptionError


class MeanFreeCoordinates(MolecularCoordinates):
    """3N−3 amplitudes of an orthonormal basis of mean-free displacements (latent) ↔ positions (data).

    `forward` places the mean at the origin; `inverse` accepts positions in any place. Orientations are sampled too.
    The volume element is scale^{3N−3} N^{3/2} / 8π². The factor 1/8π² makes log Z agree with that in other
    coordinates, which omit orientations.

    Args:
        n_atoms: N ≥ 2.
        scale: the displacement for an amplitude of 1, nm.

    Raises:
        OptionError: if there are fewer than two atoms, or the scale is not positive.

    >>> len(MeanFreeCoordinates(13, scale=0.3).domain)
    36
    """

    kind = "mean-free"
    _basis: Tensor

    def __init__(self, n_atoms: int, scale: float = 0.1) -> None:
        if n_atoms < 2 or not scale > 0:
            raise OptionError(f"Expected at least 2 atoms and a positive scale in nm; got {n_atoms} and {scale!r}.")
        size = 3 * n_atoms - 3
        domain = Domain.of([Coordinate("real", name=f"amplitude {i}") for i in range(1, size + 1)])
        super().__init__(domain, Domain.real((n_atoms, 3)))
        self.n_atoms, self.scale = n_atoms, float(scale)
        self._log_volume = size * math.log(scale) + 1.5 * math.log(n_atoms) - math.log(8 * math.pi**2)
        ones = torch.ones(n_atoms, 1, dtype=torch.float64)
        self.register_buffer("_basis", torch.linalg.qr(ones, mode="complete")[0][:, 1:], persistent=False)
        self.register_buffer("centers", torch.zeros(size, dtype=torch.float64), persistent=False)
        self.register_buffer("widths", torch.ones(size, dtype=torch.float64), persistent=False)

    @property
    def specification(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_atoms": self.n_atoms, "scale": self.scale}

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> MeanFreeCoordinates:
        """Rebuild from `specification`."""
        return cls(specification["n_atoms"], specification["scale"])

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Amplitudes (batch, 3N−3) → positions (batch, N, 3) in nm, log_ratio (batch,).

        Raises:
            ShapeError: if z has another shape.
        """
        self.latent_domain.check(z, "MeanFreeCoordinates.forward")
        x = self.scale * (self._basis.to(z) @ z.view(len(z), -1, 3))
        return x, z.new_full((len(z),), self._log_volume)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (batch, N, 3) in nm → amplitudes (batch, 3N−3), log_ratio (batch,).

        Raises:
            ShapeError: if x has another shape.
        """
        self.data_domain.check(x, "MeanFreeCoordinates.inverse")
        z = self._basis.T.to(x) @ x / self.scale
        return z.flatten(1), x.new_full((len(x),), -self._log_volume)
