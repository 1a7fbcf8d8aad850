"""Kernels of Markov chains that leave a density invariant."""

from boltzflow.core.sampling.metropolis import random_walk

__all__ = ["random_walk"]
