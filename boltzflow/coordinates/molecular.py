"""The base class of all coordinates of molecules."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from boltzflow.coordinates.profile import Profiles
from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection


class MolecularCoordinates(Bijection):
    """Coordinates (batch, D) on a domain (latent) ↔ positions (batch, N, 3) in nm (data).

    Rigid motion is integrated out: ∫ dx f(x) = 8π² V ∫ dz exp(log_ratio) f(x(z)) for any f that is invariant under
    translation and rotation. Densities and log Z of one molecule therefore agree in all coordinates.

    Attributes:
        kind: the name of the class in files.
        centers: initial values (D,), float64.
        widths: initial widths (D,), float64; infinite if unknown.
    """

    kind: ClassVar[str]
    centers: Tensor
    widths: Tensor

    @property
    def domain(self) -> Domain:
        """The domain of the coordinates: the latent domain."""
        return self.latent_domain

    def log_volume_along(self, number: int, values: Tensor) -> Tensor:
        """The contribution of one coordinate to the logarithm of the volume element, at its values (n,): (n,)."""
        return torch.zeros_like(values)

    def cut_off(self, positions: Any, profiles: Profiles, temperature: float) -> dict[str, float]:
        """The probability outside the bounds of each coordinate, by name; coordinates without bounds are left out.

        Args:
            positions: the reference structure (N, 3), nm.
            profiles: the energy along each length and angle.
            temperature: K.
        """
        return {}

    @property
    @abstractmethod
    def specification(self) -> dict[str, Any]:
        """All data to rebuild this object, as JSON-serialisable values; see `coordinates_from_specification`."""
