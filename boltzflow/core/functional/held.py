"""Numbers that rounding must not take out of their range."""

from __future__ import annotations

from torch import Tensor


def held(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`x` clamped to [low, high], with the gradient of x: what is cut off is rounding, and no function of x.

    The gradient of `clamp` is 0 for an x that rounding has put beyond a bound, where the slope is as it is next to it.

    >>> import torch
    >>> x = torch.tensor([0.5, 1.5], requires_grad=True)
    >>> held(x, torch.tensor(0.0), torch.tensor(1.0)).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """
    return x.clamp(low, high).detach() + (x - x.detach())
