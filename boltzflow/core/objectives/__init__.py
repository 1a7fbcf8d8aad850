"""Objectives of training: plain functions of a flow and a target, without side effects."""

from boltzflow.core.objectives.likelihood import bits_per_dimension, forward_kl
from boltzflow.core.objectives.loss import EnergyCap, Loss, Model, Target
from boltzflow.core.objectives.renyi import alpha_divergence, importance_weighted_bound
from boltzflow.core.objectives.variational import dispersion, log_dispersion, reverse_kl

__all__ = [
    "reverse_kl",
    "alpha_divergence",
    "importance_weighted_bound",
    "log_dispersion",
    "dispersion",
    "forward_kl",
    "bits_per_dimension",
    "EnergyCap",
    "Loss",
    "Model",
    "Target",
]
