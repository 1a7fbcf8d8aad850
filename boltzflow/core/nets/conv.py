"""Convolutional nets: the conditioner networks of image couplings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from boltzflow.core.nets.context import checked_context
from boltzflow.core.nets.normalizer import DataNormalizer
from boltzflow.errors import OptionError


def join_context_channels(images: Tensor, context: Tensor | None, size: int, where: str) -> Tensor:
    """Concatenate images with the context, as channels that are constant over the pixels.

    Args:
        images: (batch, C, H, W).
        context: (batch, size), or None if size is 0. If size is 0, the context is ignored.
        size: the declared size of the context; 0 for none.
        where: the name of the caller, for messages.

    Returns:
        (batch, C + size, H, W).

    Raises:
        OptionError: if a context is expected but missing.
        ShapeError: if it has another shape.
    """
    if not size:
        return images
    context = checked_context(context, images.shape[0], size, where)
    return torch.cat([images, context[:, :, None, None].expand(-1, -1, *images.shape[2:])], 1)


class ConvNet(nn.Module):
    """Convolutions that preserve the size of the image, with an activation after each hidden one.

    The last one is initially zero, so that couplings are initially the identity (Kingma & Dhariwal 2018,
    arXiv 1807.03039).

    Args:
        in_channels: number of input channels.
        hidden: channels of the hidden images.
        out_channels: number of output channels.
        kernels: width of each convolution, odd: one more than hidden images.
        activation: builds an activation, for example ``nn.LeakyReLU``.
        normalize: whether each hidden image is normalised before its activation, initialised by the first batch.
        dropout: fraction of the last hidden units that are dropped in training.
        positions: whether the net also gets the row and column of each pixel, as two channels on [−1, 1] (Liu et al.
            2018, arXiv 1807.03247), for images whose content depends on the position.

    Shapes:
        x (batch, in_channels, H, W) → (batch, out_channels, H, W).

    Raises:
        OptionError: if there is not one odd kernel for each convolution.

    >>> ConvNet(3, (16, 16), 6)(torch.rand(2, 3, 8, 8)).abs().max().item()
    0.0
    """

    def __init__(
        self,
        in_channels: int,
        hidden: Sequence[int],
        out_channels: int,
        kernels: Sequence[int] = (3, 1, 3),
        activation: Callable[[], nn.Module] = nn.ReLU,
        normalize: bool = False,
        dropout: float = 0.0,
        positions: bool = False,
    ) -> None:
        super().__init__()
        if len(kernels) != len(hidden) + 1 or any(kernel % 2 == 0 for kernel in kernels):
            raise OptionError(f"ConvNet: expected {len(hidden) + 1} odd kernels; got {tuple(kernels)}.")
        steps: list[nn.Module] = []
        self.positions = positions
        in_channels += 2 * positions
        for before, after, kernel in zip((in_channels, *hidden), hidden, kernels, strict=False):
            steps.append(_convolution(before, after, kernel))
            if normalize:
                steps.append(DataNormalizer((after, 1, 1)))
            steps.append(activation())
        if dropout > 0.0:
            steps.append(nn.Dropout(dropout))
        steps.append(_zero(_convolution((in_channels, *hidden)[-1], out_channels, kernels[-1])))
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.steps(torch.cat([x, _positions(x)], 1) if self.positions else x)
        return out


class ConvResidualNet(nn.Module):
    """A convolution, blocks h + conv(a(conv(a(h)))), then an activation and a last convolution, initially zero.

    He et al. 2016, arXiv 1603.05027. The second convolution of each block is initially zero too, so that a deep net is
    initially equivalent to a shallow one.

    Args:
        in_channels: number of input channels.
        width: channels of every hidden image.
        blocks: number of residual blocks.
        out_channels: number of output channels.
        kernel: width of all convolutions, odd.
        activation: builds an activation.
        dropout: fraction of a block's hidden channels that are dropped in training.

    Shapes:
        x (batch, in_channels, H, W) → (batch, out_channels, H, W).

    Raises:
        OptionError: if the kernel is even.

    >>> ConvResidualNet(3, 16, blocks=2, out_channels=6)(torch.rand(2, 3, 8, 8)).shape
    torch.Size([2, 6, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        blocks: int,
        out_channels: int,
        kernel: int = 3,
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise OptionError(f"ConvResidualNet: expected an odd kernel; got {kernel}.")
        self.first = _convolution(in_channels, width, kernel)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                activation(),
                _convolution(width, width, kernel),
                activation(),
                nn.Dropout2d(dropout),
                _zero(_convolution(width, width, kernel)),
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(activation(), _zero(_convolution(width, out_channels, kernel)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.last(h)
        return out


def _positions(x: Tensor) -> Tensor:
    """Rows and columns (batch, 2, H, W) of the pixels of x, on [−1, 1]."""
    axes = [torch.linspace(-1.0, 1.0, size, dtype=x.dtype, device=x.device) for size in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(x.shape[0], -1, -1, -1)


def _convolution(before: int, after: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
