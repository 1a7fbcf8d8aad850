"""Ready-made flows of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from boltzflow.core.distributions import GlowNormal
from boltzflow.core.domain import Domain
from boltzflow.core.layer import Chain, Layer
from boltzflow.core.layers import Squeeze, glow_block
from boltzflow.core.layers.glow import ImageNet
from boltzflow.core.multiscale_flow import MultiscaleFlow
from boltzflow.core.nets import ConvNet
from boltzflow.errors import OptionError


def glow(
    domain: Domain,
    *,
    levels: int = 3,
    blocks: int = 16,
    net: ImageNet | None = None,
    front: Sequence[Layer] = (),
    lu: bool = True,
    context_size: int = 0,
    seed: int = 0,
) -> MultiscaleFlow:
    """Glow: levels of squeezing and steps; half of the channels leave at each (Kingma & Dhariwal 2018, 1807.03039).

    With one-hot class labels as context, couplings and bases are class-conditional. Actnorms are initialised by the
    first batch in training mode. Each level halves height and width.

    Args:
        domain: real, of shape (C, H, W), with H and W multiples of 2^levels.
        levels: number of resolutions.
        blocks: number of steps (see `layers.glow_block`) at each resolution.
        net: of the couplings, see `layers.ImageCoupling`; by default a `ConvNet` with two hidden images of 512
            channels, the size for natural images.
        front: layers between the flow and its data, from latent to data, each on `domain`, for example a
            `layers.Logit` for pixels in [0, 1].
        lu: whether 1×1 convolutions are parametrised by their LU factors.
        context_size: size of the context; 0 for none.
        seed: the random seed of rotations and weights; the global random state is not changed.

    Raises:
        OptionError: if there is no level or no step.
        DomainError: if the domain is not a real (C, H, W), or H and W cannot be halved at each level.

    >>> flow = glow(Domain.real((1, 8, 8)), levels=2, blocks=2, context_size=10)
    >>> flow.sample(3, torch.eye(10)[:3], temperature=0.7)[0].shape
    torch.Size([3, 1, 8, 8])
    """
    if levels < 1 or blocks < 1:
        raise OptionError(f"glow: expected at least one level and one step; got {levels} and {blocks}.")
    make = net if net is not None else (lambda inputs, outputs: ConvNet(inputs, (512, 512), outputs))
    chains: list[Layer] = []
    bases: list[GlowNormal] = []
    data = domain
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
        for number in range(levels):
            squeeze = Squeeze(data)
            inner = squeeze.latent_domain
            steps: list[Layer] = [glow_block(inner, net=make, lu=lu, context_size=context_size) for _ in range(blocks)]
            chains.append(Chain([*steps, squeeze, *(front if number == 0 else ())]))
            channels, *pixels = inner.shape
            leaving = channels // 2 if number < levels - 1 else channels
            bases.append(GlowNormal(Domain.real((leaving, *pixels)), context_size=context_size))
            data = Domain.real((channels - leaving, *pixels))
    return MultiscaleFlow(bases[::-1], chains[::-1])
