"""Conditioners and what they are fed."""

from boltzflow.core.nets.context import ContextParameter, checked_context, join_context
from boltzflow.core.nets.features import DomainFeatures
from boltzflow.core.nets.made import MADE, MaskedLinear
from boltzflow.core.nets.mlp import MLP
from boltzflow.core.nets.resnet import ResidualNet

__all__ = [
    "MADE",
    "MLP",
    "MaskedLinear",
    "ContextParameter",
    "DomainFeatures",
    "ResidualNet",
    "checked_context",
    "join_context",
]
