"""The general flow library: domains, layers, nets, distributions, flows, objectives and recipes."""

from boltzflow.core import distributions, importance, kernels, layers, nets, objectives, recipes, samplers, transformers
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.core.flow import Flow
from boltzflow.core.flow_vae import FlowVAE
from boltzflow.core.layer import Bijection, Chain, Inverse, Layer, StochasticLayer
from boltzflow.core.multiscale_flow import MultiscaleFlow
from boltzflow.core.stochastic_flow import StochasticFlow

__all__ = [
    "Bijection",
    "Chain",
    "Coordinate",
    "Domain",
    "Flow",
    "FlowVAE",
    "Inverse",
    "Layer",
    "MultiscaleFlow",
    "StochasticFlow",
    "StochasticLayer",
    "distributions",
    "importance",
    "kernels",
    "layers",
    "nets",
    "objectives",
    "recipes",
    "samplers",
    "transformers",
]
