"""Step sizes that reach a wanted acceptance."""

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
    """Run a kernel from x and change its step sizes until its mean acceptance is the wanted one.

    Robbins–Monro steps (Andrieu & Thoms 2008, DOI 10.1007/s11222-008-9110-y), the same factor for each coordinate. A
    kernel that learns from its past leaves nothing invariant and its weights are not exact: adapt first, in a
    warm-up whose samples do not count, and leave the kernel as it is afterwards. 0.65 suits Hamiltonian Monte Carlo,
    0.57 adjusted Langevin steps, 0.23 to 0.44 a random walk.

    Args:
        kernel: whose step sizes are changed, in place.
        x: (batch, *shape) to start from.
        log_prob: (batch, *shape) → (batch,), up to a constant.
        context: (batch, C) for the kernel, or None.
        target_acceptance: in (0, 1).
        iterations: calls of the kernel.
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
    """The rate of the iteration-th Robbins–Monro step: large enough to get anywhere, small enough to settle."""
    return 3.0 * math.exp(-0.6 * math.log1p(iteration))
