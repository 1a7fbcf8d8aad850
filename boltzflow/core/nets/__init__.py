"""Conditioners and what they are fed."""

from boltzflow.core.nets.features import DomainFeatures
from boltzflow.core.nets.mlp import MLP
from boltzflow.core.nets.resnet import ResidualNet

__all__ = ["MLP", "DomainFeatures", "ResidualNet"]
