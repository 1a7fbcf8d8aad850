"""Layers of flows, one file a family."""

from boltzflow.core.layers.periodic import CircularShift
from boltzflow.core.layers.spline import SplineCoupling
from boltzflow.core.layers.stochastic import MetropolisLayer

__all__ = ["CircularShift", "MetropolisLayer", "SplineCoupling"]
