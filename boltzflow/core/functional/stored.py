"""Controls what compiled code stores in memory."""

from __future__ import annotations

from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """Returns `x`; makes the compiler store it in memory instead of recomputing it wherever it is used.

    >>> import torch
    >>> stored(torch.ones(2))
    tensor([1., 1.])
    """
    return x.as_strided(x.shape, x.stride())
