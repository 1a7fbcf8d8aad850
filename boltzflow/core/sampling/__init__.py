"""Kernels of Markov chains, and samplers that anneal, resample or reject."""

from boltzflow.core.sampling.adaptation import adapt_step_size, adjust_step_size
from boltzflow.core.sampling.hamiltonian import HamiltonianMonteCarlo, Langevin, UnderdampedLangevin
from boltzflow.core.sampling.kernel import Kernel, Move
from boltzflow.core.sampling.metropolis import RandomWalk
from boltzflow.core.sampling.path import GeometricPath

__all__ = [
    "GeometricPath",
    "HamiltonianMonteCarlo",
    "Kernel",
    "Langevin",
    "Move",
    "RandomWalk",
    "UnderdampedLangevin",
    "adapt_step_size",
    "adjust_step_size",
]
