"""Solutions of x + f(x) = target for contractions f."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.compilation import never_compiled
from boltzflow.errors import ConvergenceError

_MEMORY = 64
# Updates that would reduce the inverse Jacobian along a direction by more than this are damped.
_DAMPED = 0.3


@never_compiled
@torch.no_grad()
def solve_fixed_point(
    function: Callable[[Tensor], Tensor], target: Tensor, where: str, *, max_iterations: int = 1000
) -> Tensor:
    """The x with x + function(x) = target, to the precision of the dtype.

    Broyden's method (1965, DOI 10.1090/S0025-5718-1965-0198670-6) updates the inverse Jacobian of each sample from
    its residuals. The updates are damped so that the matrix remains invertible (Moré & Trangenstein 1976,
    DOI 10.1090/S0025-5718-1976-0418451-2). If a step makes a sample's residual much larger, a plain fixed-point step
    follows, which always converges for a contraction. A sample whose target is not finite is not changed.

    Args:
        function: (batch, D) → (batch, D), samples independent of each other, Lipschitz constant below 1.
        target: (batch, D).
        where: the name of the caller, for messages.
        max_iterations: the maximum number of evaluations of the function.

    Returns:
        (batch, D), without gradient.

    Raises:
        ConvergenceError: if a sample's residual has not decreased to rounding by then.

    >>> solve_fixed_point(lambda x: 0.5 * x.sin(), torch.tensor([[1.0]]), "example")
    tensor([[0.6840]])
    """
    eps = torch.finfo(target.dtype).eps
    reach = target.abs().amax(1)
    x, residual = target, -function(target)
    best = size = residual.abs().amax(1)
    done = ~target.isfinite().all(1) | (size <= 4.0 * eps * (1.0 + reach))
    # The inverse Jacobian H is 1 + Σ left ⊗ right, over the first `count` pairs.
    left, right = target.new_empty(2, _MEMORY, *target.shape)
    count = 0
    newton, plain = residual, torch.ones_like(done)
    for _ in range(max_iterations):
        if bool(done.all()):
            return x
        step = torch.where(plain[:, None], residual, newton)
        there = x + step
        residual_there = target - there - function(there)
        size_there = residual_there.abs().amax(1)
        rounding = eps * (1.0 + torch.maximum(reach, x.abs().amax(1)))
        # At the level of rounding the residual cannot decrease further.
        done = done | (~(size_there < size) & (size <= 32.0 * rounding))
        taken = ((size_there < 2.0 * best) | (plain & size_there.isfinite())) & ~done
        # H := H + (step − H Δ) ⊗ (Hᵀ step)/(step · H Δ), Δ the decrease of the residual; rejected steps count too.
        newton_there = _apply(left[:count], right[:count], residual_there)
        row = _apply(right[:count], left[:count], step)
        excess = step - newton + newton_there
        length = (step * step).sum(1)
        seen = taken | (size_there.isfinite() & ~done & (length > 0.0))
        length = torch.where(seen, length, 1.0)
        ratio = 1.0 - (step * excess).sum(1) / length
        damping = torch.where(ratio.abs() < _DAMPED, (1.0 - _DAMPED * ratio.sign()) / (1.0 - ratio), 1.0)
        factor = damping / (length * (1.0 - damping + damping * ratio))
        column = torch.where(seen[:, None], excess * factor[:, None], 0.0)
        x = torch.where(taken[:, None], there, x)
        residual = torch.where(taken[:, None], residual_there, residual)
        size = torch.where(taken, size_there, size)
        best = torch.minimum(best, size)
        done = done | (size <= 4.0 * rounding)
        left[count], right[count] = column, row
        count += 1
        newton = torch.where(taken[:, None], newton_there, newton)
        newton = newton + column * (row * residual).sum(1, keepdim=True)
        plain = ~taken
        if count == _MEMORY:
            size_of_state = target.shape[1]
            if size_of_state < _MEMORY // 2:  # as many pairs as coordinates represent the full matrix
                left[:size_of_state] = torch.einsum("kbi,kbj->jbi", left, right)
                right[:size_of_state] = torch.eye(size_of_state, dtype=x.dtype, device=x.device)[:, None]
                count = size_of_state
            else:
                count, newton = 0, residual
    worst = torch.where(done, 0.0, torch.nan_to_num(size, nan=torch.inf))
    raise ConvergenceError(
        f"{where}: expected a fixed point within {max_iterations} iterations; got a residual of "
        f"{worst.max().item():.3g} for sample {int(worst.argmax())}. Is the Lipschitz constant below 1?"
    )


def _apply(left: Tensor, right: Tensor, vector: Tensor) -> Tensor:
    """(1 + Σ left ⊗ right) vector: (k, batch, D), (k, batch, D), (batch, D) → (batch, D)."""
    return vector + (left * (right * vector).sum(-1, keepdim=True)).sum(0)
