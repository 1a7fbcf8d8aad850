"""Bijections between Cartesian positions and coordinates of molecules."""

from boltzflow.coordinates.cartesian import CartesianCoordinates
from boltzflow.coordinates.coverage import Coverage, coverage
from boltzflow.coordinates.files import coordinates_from_specification
from boltzflow.coordinates.internal import InternalCoordinates
from boltzflow.coordinates.mean_free import MeanFreeCoordinates
from boltzflow.coordinates.mixed import MixedCoordinates
from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.coordinates.rigid import rigid_dynamics_log_factor
from boltzflow.coordinates.zmatrix import ZMatrix, build_zmatrix

__all__ = [
    "CartesianCoordinates",
    "Coverage",
    "InternalCoordinates",
    "MeanFreeCoordinates",
    "MixedCoordinates",
    "MolecularCoordinates",
    "ZMatrix",
    "build_zmatrix",
    "coordinates_from_specification",
    "coverage",
    "rigid_dynamics_log_factor",
]
