"""Rebuilds coordinates from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzflow.coordinates.cartesian import CartesianCoordinates
from boltzflow.coordinates.internal import InternalCoordinates
from boltzflow.coordinates.mean_free import MeanFreeCoordinates
from boltzflow.coordinates.mixed import MixedCoordinates
from boltzflow.coordinates.molecular import MolecularCoordinates

_KINDS = {
    "internal": InternalCoordinates.from_specification,
    "Cartesian": CartesianCoordinates.from_specification,
    "mixed": MixedCoordinates.from_specification,
    "mean-free": MeanFreeCoordinates.from_specification,
}


def coordinates_from_specification(specification: Mapping[str, Any]) -> MolecularCoordinates:
    """Rebuild coordinates from their `specification`; if it has no kind, they are internal coordinates.

    Raises:
        KeyError: if the kind is unknown or an entry is missing.
    """
    return _KINDS[specification.get("kind", "internal")](specification)
