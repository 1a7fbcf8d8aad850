"""Training objectives: functions of a flow and a target, without side effects."""

from boltzflow.core.objectives.likelihood import bits_per_dimension, forward_kl
from boltzflow.core.objectives.loss import EnergyCap, Loss
from boltzflow.core.objectives.renyi import alpha_divergence, importance_weighted_bound
from boltzflow.core.objectives.variational import dispersion, log_dispersion, reverse_kl
from boltzflow.core.protocols import Model, Target

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
