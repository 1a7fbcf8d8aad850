"""Step-size adaptation to a target acceptance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.kernels.kernel import Kernel
from boltzflow.core.kernels.trajectory import LogDensity
from boltzflow.errors import OptionError


def adapt_step_size(
    kernel: Kernel,
    x: Tensor,
    log_prob: LogDensity,
    context: Tensor | None = None,
    *,
    target_acceptance: float = 0.65,
    iterations: int = 100,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run a kernel from x and adapt its step sizes until its mean acceptance reaches the target.

    Robbins–Monro steps (Andrieu & Thoms 2008, DOI 10.1007/s11222-008-9110-y), with the same factor for each coordinate.
    An adapting kernel does not leave the density invariant, and its weights are not exact. Adapt in a warm-up whose
    samples are discarded, and do not change the kernel afterwards. Recommended targets are 0.65 for Hamiltonian Monte
    Carlo, 0.57 for adjusted Langevin steps, and 0.23 to 0.44 for a random walk.

    Args:
        kernel: the kernel; its step sizes are changed in place.
        x: initial states (batch, *shape).
        log_prob: (batch, *shape) → (batch,), up to a constant.
        context: (batch, C) for the kernel, or None.
        target_acceptance: in (0, 1).
        iterations: number of calls of the kernel.
        generator: the random number generator.

    Returns:
        x after the warm-up (batch, *shape).

    Raises:
        OptionError: if the target acceptance is not in (0, 1).

    >>> from boltzflow.core import Domain
    >>> from boltzflow.core.kernels import RandomWalk
    >>> kernel = RandomWalk(Domain.real(1), step_size=0.01)
    >>> x = adapt_step_size(kernel, torch.randn(500, 1), lambda x: -0.5 * x.square().sum(1), target_acceptance=0.44)
    >>> bool(1.5 < kernel.step_size(x) < 4.0)
    True
    """
    momentum = None
    with torch.no_grad():
        for iteration in range(iterations):
            move = kernel(x, log_prob, context, momentum=momentum, generator=generator)
            x, momentum = move.x, move.momentum
            adjust_step_size(kernel, move.acceptance, target_acceptance, rate=adaptation_rate(iteration))
    return x


def adjust_step_size(kernel: Kernel, acceptance: Tensor, target_acceptance: float = 0.65, *, rate: float = 0.1) -> None:
    """Multiply a kernel's step sizes by exp(rate · (mean acceptance − target)), in place. acceptance: any shape.

    Raises:
        OptionError: if the target acceptance is not in (0, 1).
    """
    if not 0.0 < target_acceptance < 1.0:
        raise OptionError(f"Expected a target acceptance in (0, 1); got {target_acceptance:g}.")
    with torch.no_grad():
        kernel.log_step_size.value.add_(rate * (acceptance.mean() - target_acceptance))


def adaptation_rate(iteration: int) -> float:
    """The rate of the iteration-th Robbins–Monro step: it decreases slowly enough to reach any value and converge."""
    return 3.0 * math.exp(-0.6 * math.log1p(iteration))
