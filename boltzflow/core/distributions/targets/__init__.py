"""Common benchmark targets with exact samples and known normalisation."""

from boltzflow.core.distributions.targets.normalized import (
    Cylinder,
    Funnel,
    Pinwheel,
    checkerboard,
    circular_mixture,
    forty_modes,
    spirals,
)
from boltzflow.core.distributions.targets.plane import MullerBrown, RingMixture, Sinusoidal, Smiley, TwoMoons
from boltzflow.core.distributions.targets.target import ExactTarget, PlaneTarget
from boltzflow.core.distributions.targets.wells import DoubleWell, ManyWell

__all__ = [
    "Cylinder",
    "DoubleWell",
    "ExactTarget",
    "Funnel",
    "ManyWell",
    "MullerBrown",
    "Pinwheel",
    "PlaneTarget",
    "RingMixture",
    "Sinusoidal",
    "Smiley",
    "TwoMoons",
    "checkerboard",
    "circular_mixture",
    "forty_modes",
    "spirals",
]
