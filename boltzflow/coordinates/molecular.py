"""What all coordinates of molecules have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from boltzflow.coordinates.profile import Profiles
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

    def cut_off(self, positions: Any, profiles: Profiles, temperature: float) -> dict[str, float]:
        """The probability that lies outside the bounds of each coordinate, by name; none where there are no bounds.

        Args:
            positions: the reference structure (N, 3), nm.
            profiles: the energy along each length and angle.
            temperature: K.
        """
        return {}

    @property
    @abstractmethod
    def specification(self) -> dict[str, Any]:
        """Everything that rebuilds this object, as JSON-able values; see `coordinates_from_specification`."""
