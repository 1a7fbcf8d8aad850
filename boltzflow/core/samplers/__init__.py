"""Annealing, resampling and rejection samplers, from a density with exact samples to any unnormalised density."""

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
