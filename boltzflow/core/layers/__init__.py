"""Layers of flows, one file a family."""

from boltzflow.core.layers.autoregressive import Autoregressive
from boltzflow.core.layers.coupling import AffineCoupling, Coupling, SplineCoupling
from boltzflow.core.layers.linear import Householder, Invertible1x1Conv, InvertibleLinear, LULinear, Permutation
from boltzflow.core.layers.periodic import CircularShift
from boltzflow.core.layers.planar import Planar, Radial
from boltzflow.core.layers.stochastic import MetropolisLayer

__all__ = [
    "AffineCoupling",
    "Autoregressive",
    "CircularShift",
    "Coupling",
    "Householder",
    "Invertible1x1Conv",
    "InvertibleLinear",
    "LULinear",
    "MetropolisLayer",
    "Permutation",
    "Planar",
    "Radial",
    "SplineCoupling",
]
