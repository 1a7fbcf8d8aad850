"""Bases and targets."""

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.distributions.independent import Independent

__all__ = ["Distribution", "Independent"]
