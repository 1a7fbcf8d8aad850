"""Layers of flows, one file for each family."""

from boltzflow.core.layers.autoregressive import Autoregressive
from boltzflow.core.layers.bounded import Logit, ToInterval, Wrap
from boltzflow.core.layers.context import LogContext
from boltzflow.core.layers.continuous import ContinuousFlow
from boltzflow.core.layers.coupling import AffineCoupling, Coupling, SplineCoupling
from boltzflow.core.layers.elementwise import Elementwise, ElementwiseAffine
from boltzflow.core.layers.glow import ImageCoupling, glow_block
from boltzflow.core.layers.linear import Householder, Invertible1x1Conv, InvertibleLinear, LULinear, Permutation
from boltzflow.core.layers.multiscale import Multiscale
from boltzflow.core.layers.normalization import ActNorm, BatchNorm
from boltzflow.core.layers.periodic import CircularShift
from boltzflow.core.layers.planar import Planar, Radial
from boltzflow.core.layers.reshape import Reshape, Squeeze
from boltzflow.core.layers.residual import LogDetEstimator, Residual
from boltzflow.core.layers.stochastic import (
    KernelLayer,
)

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Autoregressive",
    "BatchNorm",
    "CircularShift",
    "ContinuousFlow",
    "Coupling",
    "Elementwise",
    "ElementwiseAffine",
    "Householder",
    "ImageCoupling",
    "Invertible1x1Conv",
    "InvertibleLinear",
    "KernelLayer",
    "LULinear",
    "LogContext",
    "LogDetEstimator",
    "Logit",
    "Multiscale",
    "Permutation",
    "Planar",
    "Radial",
    "Reshape",
    "Residual",
    "SplineCoupling",
    "Squeeze",
    "ToInterval",
    "Wrap",
    "glow_block",
]
