"""Dequantisation: integers to continuous values."""

from __future__ import annotations

import torch
from torch import Tensor


def dequantize(pixels: Tensor, levels: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Integers 0 … levels − 1 spread uniformly over their cells in [0, 1]: (pixels + u)/levels with uniform u.

    The mean log-density over u, minus log levels for each pixel, is a lower bound of the log-probability of the
    integers (Theis et al. 2015, arXiv 1511.01844).

    Args:
        pixels: integers in a floating dtype, any shape.
        levels: the number of levels.
        generator: the random number generator for u.

    >>> int(dequantize(torch.tensor([3.0]), 4) * 4)
    3
    """
    noise = torch.rand(pixels.shape, dtype=pixels.dtype, device=pixels.device, generator=generator)
    return (pixels + noise) / levels
