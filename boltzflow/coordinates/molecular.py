"""What all coordinates of molecules have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection


class MolecularCoordinates(Bijection):
    """Coordinates (batch, D) of some domain (latent) ↔ positions (batch, N, 3) in nm (data).

    Rigid motion is integrated out: ∫ dx f(x) = 8π² V ∫ dz exp(log_ratio) f(x(z)) for any f without preferred
    place or orientation, so that densities and log Z of one molecule agree in all coordinates.

    Attributes:
        kind: the name of the class in files.
        centers: start values (D,), float64.
        widths: start widths (D,), float64; infinite where nothing is known.
    """

    kind: ClassVar[str]
    centers: Tensor
    widths: Tensor

    @property
    def domain(self) -> Domain:
        """The domain of the coordinates: the latent domain."""
        return self.latent_domain

    def log_volume_along(self, number: int, values: Tensor) -> Tensor:
        """The part of the volume element's logarithm that one coordinate alone makes, at its values (n,): (n,)."""
        return torch.zeros_like(values)

    @property
    @abstractmethod
    def specification(self) -> dict[str, Any]:
        """Everything that rebuilds this object, as JSON-able values; see `coordinates_from_specification`."""
