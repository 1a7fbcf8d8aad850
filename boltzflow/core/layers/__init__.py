"""Layers of flows, one file a family."""

from boltzflow.core.layers.coupling import AffineCoupling, Coupling, SplineCoupling
from boltzflow.core.layers.periodic import CircularShift
from boltzflow.core.layers.stochastic import MetropolisLayer

__all__ = [
    "AffineCoupling",
    "CircularShift",
    "Coupling",
    "MetropolisLayer",
    "SplineCoupling",
]
