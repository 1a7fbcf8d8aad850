"""What compiled code keeps in memory."""

from __future__ import annotations

from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """`x` itself; tells the compiler to keep it in memory, not to compute it anew wherever it is read.

    >>> import torch
    >>> stored(torch.ones(2))
    tensor([1., 1.])
    """
    return x.as_strided(x.shape, x.stride())
