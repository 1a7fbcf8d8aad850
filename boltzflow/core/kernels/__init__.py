"""Markov chain kernels, the paths of densities that they follow, and step-size adaptation."""

from boltzflow.core.kernels.adaptation import adapt_step_size, adjust_step_size
from boltzflow.core.kernels.hamiltonian import HamiltonianMonteCarlo
from boltzflow.core.kernels.kernel import Kernel, Move
from boltzflow.core.kernels.langevin import Langevin, UnderdampedLangevin
from boltzflow.core.kernels.metropolis import RandomWalk
from boltzflow.core.kernels.path import GeometricPath

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
