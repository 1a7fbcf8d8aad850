"""Solutions of x + f(x) = target for contractions f."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.errors import ConvergenceError

_MEMORY = 24


@torch.compiler.disable  # type: ignore[untyped-decorator]
@torch.no_grad()
def solve_fixed_point(
    function: Callable[[Tensor], Tensor], target: Tensor, where: str, *, max_iterations: int = 1000
) -> Tensor:
    """The x with x + function(x) = target, to the precision of the dtype.

    Broyden's method (1965, DOI 10.1090/S0025-5718-1965-0198670-6), which learns the inverse Jacobian of each
    sample from the residuals that it has seen. A step that does not make a sample's residual smaller is taken
    back, and a plain fixed-point step taken instead, which a contraction cannot resist. A sample whose target is
    not finite stays as it is.

    Args:
        function: (batch, D) → (batch, D), samples independent of each other, Lipschitz constant below 1.
        target: (batch, D).
        where: who asks, for the message.
        max_iterations: evaluations of the function after which to give up.

    Returns:
        (batch, D), without gradient.

    Raises:
        ConvergenceError: if a sample's residual is not down to rounding by then.

    >>> solve_fixed_point(lambda x: 0.5 * x.sin(), torch.tensor([[1.0]]), "example")
    tensor([[0.6840]])
    """
    eps = torch.finfo(target.dtype).eps
    scale = 1.0 + target.abs().amax(1)
    x, residual = target, -function(target)
    size = residual.abs().amax(1)
    done = ~target.isfinite().all(1) | (size <= 4.0 * eps * scale)
    # The inverse Jacobian is 1 + Σ left ⊗ right.
    left, right = target.new_zeros(2, _MEMORY, *target.shape)
    count = 0
    step, plain = residual, torch.ones_like(done)
    for _ in range(max_iterations):
        if bool(done.all()):
            break
        there = x + step
        residual_there = target - there - function(there)
        size_there = residual_there.abs().amax(1)
        smaller = size_there < size
        # At the level of rounding nothing gets smaller any more.
        done = done | (~smaller & (size <= 64.0 * eps * scale))
        taken = (smaller | (plain & size_there.isfinite())) & ~done
        proposal = _apply(left[:count], right[:count], residual_there)
        row = _apply(right[:count], left[:count], step)
        length, overlap = (step * step).sum(1), (step * proposal).sum(1)
        gap = length - overlap
        usable = taken & (gap.abs() > 1e-3 * length)
        x = torch.where(taken[:, None], there, x)
        residual = torch.where(taken[:, None], residual_there, residual)
        size = torch.where(taken, size_there, size)
        done = done | (size <= 4.0 * eps * scale)
        if count == _MEMORY:
            count, usable = 0, torch.zeros_like(usable)
        # A sample whose step was refused forgets what it has learned.
        left[:count] *= usable[:, None]
        safe = torch.where(usable, gap, 1.0)[:, None]
        left[count] = torch.where(usable[:, None], proposal / safe, 0.0)
        right[count] = row
        count += 1
        step = torch.where(usable[:, None], proposal * (length[:, None] / safe), residual)
        step = torch.where(done[:, None], 0.0, step)
        plain = ~usable
    if not bool(done.all()):
        worst = torch.where(done, 0.0, torch.nan_to_num(size, nan=torch.inf))
        raise ConvergenceError(
            f"{where}: expected a fixed point within {max_iterations} iterations; sample {int(worst.argmax())} still "
            f"has a residual of {worst.max().item():.3g}. Is the Lipschitz constant below 1?"
        )
    return x


def _apply(left: Tensor, right: Tensor, vector: Tensor) -> Tensor:
    """(1 + Σ left ⊗ right) vector: (k, batch, D), (k, batch, D), (batch, D) → (batch, D)."""
    return vector + (left * (right * vector).sum(-1, keepdim=True)).sum(0)
