"""Bases and targets."""

from boltzflow.core.distributions.distribution import Density, Distribution
from boltzflow.core.distributions.independent import Independent
from boltzflow.core.distributions.normal import ConditionalNormal, DiagonalNormal, GlowNormal, Normal

__all__ = [
    "ConditionalNormal",
    "Density",
    "DiagonalNormal",
    "Distribution",
    "GlowNormal",
    "Independent",
    "Normal",
]
