"""Cartesian positions ↔ internal coordinates."""

from boltzflow.coordinates.internal import InternalCoordinates
from boltzflow.coordinates.rigid import rigid_dynamics_log_factor
from boltzflow.coordinates.zmatrix import ZMatrix, build_zmatrix

__all__ = ["InternalCoordinates", "ZMatrix", "build_zmatrix", "rigid_dynamics_log_factor"]
