"""Conditioner networks and their input features."""

from boltzflow.core.nets.context import ContextParameter, checked_context, join_context
from boltzflow.core.nets.conv import ConvNet, ConvResidualNet, join_context_channels
from boltzflow.core.nets.features import DomainFeatures
from boltzflow.core.nets.lipschitz import LipschitzCNN, LipschitzMLP, LipschitzNet
from boltzflow.core.nets.lipschitz_activations import ELU, LipschitzActivation, LipSwish
from boltzflow.core.nets.lipschitz_layers import LipschitzConv2d, LipschitzLinear
from boltzflow.core.nets.made import MADE, MaskedLinear
from boltzflow.core.nets.mlp import MLP
from boltzflow.core.nets.normalizer import DataNormalizer
from boltzflow.core.nets.resnet import ResidualNet

__all__ = [
    "ConvNet",
    "ConvResidualNet",
    "DataNormalizer",
    "ELU",
    "LipSwish",
    "LipschitzActivation",
    "LipschitzCNN",
    "LipschitzConv2d",
    "LipschitzLinear",
    "LipschitzMLP",
    "LipschitzNet",
    "MADE",
    "MLP",
    "MaskedLinear",
    "ContextParameter",
    "DomainFeatures",
    "ResidualNet",
    "checked_context",
    "join_context",
    "join_context_channels",
]
