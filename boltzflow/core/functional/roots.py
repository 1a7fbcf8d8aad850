"""Roots of increasing functions, element by element: inverts maps without a closed-form inverse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_HALVINGS = {torch.float64: 30, torch.float32: 16}
_NEWTON_STEPS = 4


def monotone_root(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    low: Tensor | float,
    high: Tensor | float,
) -> Tensor:
    """The x in [low, high] with f(x) = target, for an increasing f, to the precision of the dtype.

    Bisection finds about half the digits; Newton steps within the bracket find the others. The number of evaluations
    is fixed, so that the search compiles to one graph without breaks.

    Derivatives with respect to `target` and the parameters of f come from Newton steps of length zero at the root: the
    first gives dx = (d target − ∂f)/f′, the second gives correct second derivatives.

    Args:
        function: x (S) → f(x) and log f′(x), both (S); each element depends on the same element of x.
        target: broadcastable to S.
        low, high: bracket, broadcastable to S: f(low) ≤ target ≤ f(high). If this is violated, the nearer end is
            returned.

    Returns:
        x (S), where S is what target, low and high broadcast to.

    >>> x = torch.tensor([0.5, 2.0])
    >>> torch.allclose(monotone_root(lambda t: (t + t**3, torch.log1p(3 * t**2)), x + x**3, -4.0, 4.0), x)
    True
    """
    with torch.no_grad():
        goal = target.detach()
        a, b = (torch.as_tensor(edge, dtype=goal.dtype, device=goal.device) for edge in (low, high))
        x = (a + b) / 2 + torch.zeros_like(goal)
        for _ in range(_HALVINGS.get(goal.dtype, 16)):
            is_left = function(x)[0] < goal
            a, b = torch.where(is_left, x, a), torch.where(is_left, b, x)
            x = (a + b) / 2
        for _ in range(_NEWTON_STEPS):
            image, log_slope = function(x)
            is_left = image < goal
            a, b = torch.where(is_left, x, a), torch.where(is_left, b, x)
            guess = x + (goal - image) * (-log_slope).exp()
            x = torch.where(guess.isnan(), (a + b) / 2, guess.clamp(a, b))
    for _ in range(2):
        image, log_slope = function(x)
        step = (target - image) * (-log_slope).exp()
        x = x + (step - step.detach())
    return x
