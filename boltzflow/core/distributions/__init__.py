"""Base distributions and targets."""

from boltzflow.core.distributions import targets
from boltzflow.core.distributions.coders import ConditionalBernoulli, Dirac
from boltzflow.core.distributions.distribution import Density, Distribution
from boltzflow.core.distributions.image import ImageDensity
from boltzflow.core.distributions.independent import Independent
from boltzflow.core.distributions.interpolation import LinearInterpolation
from boltzflow.core.distributions.mixture import GaussianMixture, Mixture, Product
from boltzflow.core.distributions.multivariate import FullNormal, PCANormal
from boltzflow.core.distributions.normal import ConditionalNormal, DiagonalNormal, GlowNormal, Normal
from boltzflow.core.distributions.resampled import Resampled
from boltzflow.core.distributions.rosenblatt import cumulative, has_quantiles, quantile
from boltzflow.core.distributions.tabulated import Tabulated

__all__ = [
    "ConditionalBernoulli",
    "ConditionalNormal",
    "Density",
    "DiagonalNormal",
    "Dirac",
    "Distribution",
    "FullNormal",
    "GaussianMixture",
    "GlowNormal",
    "ImageDensity",
    "Independent",
    "LinearInterpolation",
    "Mixture",
    "Normal",
    "PCANormal",
    "Product",
    "Resampled",
    "Tabulated",
    "cumulative",
    "has_quantiles",
    "quantile",
    "targets",
]
