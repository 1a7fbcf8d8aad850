"""Kernels of Markov chains, and samplers that anneal, resample or reject."""

from boltzflow.core.sampling.adaptation import adapt_step_size, adjust_step_size
from boltzflow.core.sampling.annealing import AnnealedSamples, annealed_importance_sampling, sequential_monte_carlo
from boltzflow.core.sampling.hamiltonian import HamiltonianMonteCarlo
from boltzflow.core.sampling.kernel import Kernel, Move
from boltzflow.core.sampling.langevin import Langevin, UnderdampedLangevin
from boltzflow.core.sampling.metropolis import RandomWalk
from boltzflow.core.sampling.path import GeometricPath
from boltzflow.core.sampling.rejection import rejection_sampling
from boltzflow.core.sampling.schedules import AdaptiveSchedule, geometric_schedule, linear_schedule

__all__ = [
    "AdaptiveSchedule",
    "AnnealedSamples",
    "GeometricPath",
    "HamiltonianMonteCarlo",
    "Kernel",
    "Langevin",
    "Move",
    "RandomWalk",
    "UnderdampedLangevin",
    "adapt_step_size",
    "adjust_step_size",
    "annealed_importance_sampling",
    "geometric_schedule",
    "linear_schedule",
    "rejection_sampling",
    "sequential_monte_carlo",
]
