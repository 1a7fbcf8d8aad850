"""Mean and standard deviation of a batch over all processes of data-parallel training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, distributed


@torch.no_grad()
def shared_moments(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor, int]:
    """Mean and standard deviation of x over some axes, over the batches of all processes.

    With several `torch.distributed` processes, all of them must call this at the same step, and all get the same
    numbers. Deviations are scaled before they are squared, which avoids overflow and underflow.

    Args:
        x: (batch, *event); a batch may be empty.
        axes: the axes to average over, including 0.

    Returns:
        Mean and standard deviation, in the shape of x with length 1 along `axes`, and the number of values in each
        average. If all values are equal, the standard deviation is exactly 0.

    >>> shared_moments(torch.tensor([[1e-30], [3e-30]]), [0])
    (tensor([[2.0000e-30]]), tensor([[1.0000e-30]]), 2)
    """
    count = math.prod([x.shape[i] for i in axes])
    if _several():
        count = int(_together(x.new_tensor(count, dtype=torch.int64), "SUM").item())
    if x.numel():
        low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    else:
        high = x.sum(axes, keepdim=True) - torch.inf
        low = -high
    low, high = _together(low, "MIN"), _together(high, "MAX")
    mean = _together((x / max(1, count)).sum(axes, keepdim=True), "SUM").clamp(low, high)
    reach = torch.maximum(high - mean, mean - low)
    reach = torch.where(high > low, reach, 1.0)
    square = _together((((x - mean) / reach).square() / max(1, count)).sum(axes, keepdim=True), "SUM")
    return mean, torch.where(high > low, reach * square.sqrt(), 0.0), count


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _together(x: Tensor, operation: Literal["SUM", "MIN", "MAX"]) -> Tensor:
    """The sum, minimum or maximum of x over all processes; x itself if there is one process."""
    if _several():
        distributed.all_reduce(x, getattr(distributed.ReduceOp, operation))
    return x
