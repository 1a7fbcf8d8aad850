"""The multistate Bennett acceptance ratio (MBAR): weights of samples from all temperatures at any of them."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.arrays import Array

_SOLVER = ({"method": "adaptive", "options": {"min_sc_iter": 0}},)
"""Newton or self-consistent steps, whichever converges faster; pymbar's default warns with newer SciPy."""


def free_energies(reduced: Array, initial: Array | None = None) -> Array:
    """Reduced free energies (K,) of K states by MBAR, relative to the first, from equally many samples of each.

    Shirts & Chodera 2008, DOI 10.1063/1.2978177, as implemented in pymbar.

    Args:
        reduced: (K, K·n), the reduced energy of every sample in every state; samples in the order of states.
        initial: initial guess (K,).

    >>> round(float(free_energies(np.array([[0.0, 0.0], [1.0, 1.0]]))[1]), 6)
    1.0
    """
    states, samples = reduced.shape
    found = solve_mbar(reduced, np.full(states, samples // states), initial)
    return np.asarray(found.f_k - found.f_k[0], dtype=np.float64)


def solve_mbar(reduced: Array, counts: NDArray[np.int64], initial: Array | None = None) -> Any:
    """The solved pymbar `MBAR` of K states. reduced: (K, N), samples in the order of states; counts: (K,)."""
    options = {"relative_tolerance": 1e-9, "maximum_iterations": 500, "solver_protocol": _SOLVER}
    return load_pymbar().MBAR(reduced, counts, initial_f_k=initial, **options)


def log_mixture(energies: Tensor, inverse_temperatures: Tensor, free: Tensor) -> Tensor:
    """log of the mixture density of the samples of all states, up to a constant.

    energies: any shape; inverse_temperatures and free energies: (K,). log Σₖ exp(fₖ − βₖU) / K.
    """
    exponents = [f - beta * energies for beta, f in zip(inverse_temperatures.tolist(), free.tolist(), strict=True)]
    return torch.stack(exponents).logsumexp(0)


@cache
def load_pymbar() -> Any:
    """The pymbar module, without the warning that it logs if JAX is not installed."""
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import pymbar
    finally:
        logger.setLevel(level)
    return pymbar
