"""Couplings of images, and one step of Glow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.functional import checkerboard_mask
from boltzflow.core.layer import Bijection, Chain
from boltzflow.core.layers.linear import Invertible1x1Conv
from boltzflow.core.layers.normalization import ActNorm
from boltzflow.core.nets import ConvNet, join_context_channels
from boltzflow.core.transformers import Affine, Transformer
from boltzflow.errors import DomainError, OptionError

Split = Literal["channel", "checkerboard"]
"""The half of an image that a coupling transforms: half of the channels, or every other pixel."""

ImageNet = Callable[[int, int], nn.Module]
"""Numbers of input and output channels → a net that preserves the size of the image."""

TransformerOf = Callable[[Domain], Transformer]
"""The transformed domain → its transformer."""

_BOUNDED: TransformerOf = partial(Affine, scale="sigmoid")


class ImageCoupling(Bijection):
    """Half of an image is transformed with parameters that a convolutional net computes from the other half.

    Dinh et al. 2016, arXiv 1605.08803. Each direction costs one pass through the net. Initially the identity, if the
    transformer with zero parameters is the identity and the net is initially zero.

    Args:
        domain: real, of shape (C, H, W).
        split: ``"channel"``: half of the channels is transformed; ``"checkerboard"``: every other pixel.
        flip: whether to transform the other half instead.
        transformer: builds the transformer from its domain, for example
            ``partial(transformers.Affine, scale="sigmoid")``; by default `transformers.Affine`.
        net: builds the net from its numbers of input and output channels; by default `nets.ConvNet` with two
            hidden images of 64 channels.
        context_size: size of the context, which the net gets as additional channels; 0 for none.

    Raises:
        DomainError: if the domain is not a real (C, H, W), or has a single channel and the split is "channel".
        OptionError: if the split is unknown.

    >>> layer = ImageCoupling(Domain.real((2, 4, 4)))
    >>> x, log_ratio = layer(torch.rand(5, 2, 4, 4))
    """

    moving: Tensor

    def __init__(
        self,
        domain: Domain,
        *,
        split: Split = "channel",
        flip: bool = False,
        transformer: TransformerOf = Affine,
        net: ImageNet | None = None,
        context_size: int = 0,
    ) -> None:
        if len(domain.shape) != 3 or len(domain.indices("real")) != len(domain):
            raise DomainError(f"ImageCoupling: expected a real domain of shape (C, H, W); got {domain}.")
        if split not in ("channel", "checkerboard"):
            raise OptionError(f"ImageCoupling: expected split 'channel' or 'checkerboard'; got {split!r}.")
        channels, height, width = domain.shape
        if split == "channel" and channels < 2:
            raise DomainError(f"ImageCoupling: expected at least 2 channels to split; got {domain}.")
        super().__init__(domain, domain)
        self.split = split
        self.context_size = context_size
        if split == "channel":
            # Only the transformed channels are selected, so that nothing is computed for the others.
            half = channels // 2
            self.start, self.stop = (half, channels) if flip else (0, half)
            outputs, inputs = self.stop - self.start, channels - (self.stop - self.start)
            moving = (torch.arange(channels) >= half) == flip
        else:
            outputs, inputs = channels, channels
            moving = checkerboard_mask(domain.shape) ^ flip
        self.register_buffer("moving", moving, persistent=False)  # part of the fingerprint
        self.transformer = transformer(Domain.real((outputs, height, width)))
        make = net if net is not None else (lambda before, after: ConvNet(before, (64, 64), after))
        self.net = make(inputs + context_size, outputs * self.transformer.parameter_count)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(z, context, self.transformer.forward)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(x, context, self.transformer.inverse)

    def _transform(
        self, x: Tensor, context: Tensor | None, run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        if self.split == "checkerboard":
            moved, log_slope = run(x, self._raw_parameters(x * ~self.moving, context))
            return torch.where(self.moving, moved, x), (log_slope * self.moving).flatten(1).sum(1)
        before, moving, after = x.tensor_split([self.start, self.stop], 1)
        moved, log_slope = run(moving, self._raw_parameters(torch.cat([before, after], 1), context))
        return torch.cat([before, moved, after], 1), log_slope.flatten(1).sum(1)

    def _raw_parameters(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """(P, batch, c, H, W)."""
        raw = self.net(join_context_channels(kept, context, self.context_size, "ImageCoupling"))
        shape = self.transformer.domain.shape
        parameters: Tensor = raw.view(kept.shape[0], self.transformer.parameter_count, *shape).movedim(1, 0)
        return parameters


def glow_block(
    domain: Domain,
    *,
    transformer: TransformerOf = _BOUNDED,
    net: ImageNet | None = None,
    lu: bool = True,
    split: Split = "channel",
    flip: bool = False,
    context_size: int = 0,
) -> Chain:
    """One step of Glow, from latent to data: a coupling, a 1×1 convolution, an actnorm.

    Kingma & Dhariwal 2018, arXiv 1807.03039. Only the coupling is conditioned on the context. Its scales are sigmoids
    by default: they are bounded, which makes deep stacks stable.

    Args:
        domain: real, of shape (C, H, W).
        transformer, net, split, flip, context_size: of the coupling, see `ImageCoupling`.
        lu: whether the 1×1 convolution is parametrised by its LU factors.

    >>> chain = glow_block(Domain.real((4, 4, 4)))
    >>> [type(layer).__name__ for layer in chain]
    ['ImageCoupling', 'Invertible1x1Conv', 'ActNorm']
    """
    coupling = ImageCoupling(
        domain, split=split, flip=flip, transformer=transformer, net=net, context_size=context_size
    )
    return Chain([coupling, Invertible1x1Conv(domain, lu=lu), ActNorm(domain)])
