"""From whole numbers to a density."""

from __future__ import annotations

import torch
from torch import Tensor


def dequantize(pixels: Tensor, levels: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Whole numbers 0 … levels − 1 spread evenly over their cells in [0, 1]: (pixels + u)/levels, u uniform.

    The mean log-density over u is a lower bound of the log-probability of the whole numbers, once
    −log levels is added for each pixel (Theis et al. 2015, arXiv 1511.01844).

    Args:
        pixels: whole numbers in a floating dtype, any shape.
        levels: their number.
        generator: the source of u.

    >>> int(dequantize(torch.tensor([3.0]), 4) * 4)
    3
    """
    noise = torch.rand(pixels.shape, dtype=pixels.dtype, device=pixels.device, generator=generator)
    return (pixels + noise) / levels
