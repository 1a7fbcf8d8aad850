"""Layers of flows, one file a family."""

from boltzflow.core.layers.periodic import CircularShift
from boltzflow.core.layers.spline import SplineCoupling

__all__ = ["CircularShift", "SplineCoupling"]
