"""Samplers that anneal, resample or reject, from any density that has samples to any that has values."""

from boltzflow.core.samplers.annealing import AnnealedSamples, annealed_importance_sampling, sequential_monte_carlo
from boltzflow.core.samplers.rejection import rejection_sampling
from boltzflow.core.samplers.schedules import AdaptiveSchedule, geometric_schedule, linear_schedule

__all__ = [
    "AdaptiveSchedule",
    "AnnealedSamples",
    "annealed_importance_sampling",
    "geometric_schedule",
    "linear_schedule",
    "rejection_sampling",
    "sequential_monte_carlo",
]
