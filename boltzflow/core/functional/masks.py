"""Masks of couplings: boolean tensors of an event shape, True for transformed coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.errors import ShapeError


def alternating_mask(n: int) -> Tensor:
    """Every other of n coordinates, starting with the first: (n,) bool.

    >>> alternating_mask(3).tolist()
    [True, False, True]
    """
    return torch.arange(n) % 2 == 0


def half_mask(n: int) -> Tensor:
    """The first half of n coordinates, rounded down: (n,) bool.

    >>> half_mask(3).tolist()
    [True, False, False]
    """
    return torch.arange(n) < n // 2


def random_mask(n: int, generator: torch.Generator | None = None) -> Tensor:
    """A random half of n coordinates, rounded down: (n,) bool."""
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.randperm(n, generator=generator)[: n // 2]] = True
    return mask


def channel_mask(shape: tuple[int, ...]) -> Tensor:
    """The first half of the channels of an image, rounded down: (C, H, W) bool.

    Raises:
        ShapeError: if there are fewer than two channels.
    """
    channels = shape[0]
    if channels < 2:
        raise ShapeError(f"channel_mask: expected at least 2 channels; got an image of shape {shape}.")
    return half_mask(channels).view(-1, *[1] * (len(shape) - 1)).expand(shape)


def checkerboard_mask(shape: tuple[int, ...]) -> Tensor:
    """Every other pixel of an image in a checkerboard pattern, the same in all channels: (C, H, W) bool.

    >>> checkerboard_mask((1, 2, 2)).tolist()
    [[[True, False], [False, True]]]
    """
    parity = sum(torch.arange(size).view(-1, *[1] * (len(shape) - 2 - axis)) for axis, size in enumerate(shape[1:]))
    return (torch.as_tensor(parity) % 2 == 0).expand(shape)
