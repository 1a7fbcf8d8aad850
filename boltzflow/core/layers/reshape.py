"""Volume-preserving changes of the event shape."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.errors import DomainError


class Reshape(Bijection):
    """Real coordinates in another event shape, in the same order. Ignores `context`.

    With a flat latent domain and an image domain as data, flat layers can be used on images.

    Args:
        latent_domain, data_domain: real, of equal size.

    Raises:
        DomainError: if the domains are not real or not of equal size.

    >>> Reshape(Domain.real(12), Domain.real((3, 2, 2)))(torch.zeros(5, 12))[0].shape
    torch.Size([5, 3, 2, 2])
    """

    def __init__(self, latent_domain: Domain, data_domain: Domain) -> None:
        for domain in (latent_domain, data_domain):
            if len(domain.indices("real")) != len(domain):
                raise DomainError(f"Reshape: expected real domains; got {domain}.")
        if len(latent_domain) != len(data_domain):
            raise DomainError(f"Reshape: expected domains of equal size; got {latent_domain} and {data_domain}.")
        super().__init__(latent_domain, data_domain)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return z.reshape(z.shape[0], *self.data_domain.shape), z.new_zeros(z.shape[0])

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return x.reshape(x.shape[0], *self.latent_domain.shape), x.new_zeros(x.shape[0])


class Squeeze(Bijection):
    """Space to channels, from data to latent: (C, H, W) → (C·f², H/f, W/f). Ignores `context`.

    Dinh et al. 2016, arXiv 1605.08803: each f × f square of pixels becomes the channels of one pixel.

    Args:
        domain: the data domain, real, of shape (C, H, W).
        factor: f.

    Raises:
        DomainError: if the domain is not an image, or f does not divide its height and width.

    >>> Squeeze(Domain.real((1, 4, 4))).latent_domain.shape
    (4, 2, 2)
    """

    def __init__(self, domain: Domain, factor: int = 2) -> None:
        if len(domain.shape) != 3 or factor < 1 or domain.shape[1] % factor or domain.shape[2] % factor:
            raise DomainError(f"Squeeze: expected (C, H, W) with H and W multiples of {factor}; got {domain}.")
        channels, height, width = domain.shape
        super().__init__(Domain.real((channels * factor**2, height // factor, width // factor)), domain)
        self.factor = factor

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        # Not `pixel_shuffle`, which returns the wrong shape for an empty batch.
        f, (channels, height, width) = self.factor, self.data_domain.shape
        pixels = z.reshape(z.shape[0], channels, f, f, height // f, width // f).permute(0, 1, 4, 2, 5, 3)
        return pixels.reshape(z.shape[0], channels, height, width), z.new_zeros(z.shape[0])

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        f, (channels, height, width) = self.factor, self.data_domain.shape
        squares = x.reshape(x.shape[0], channels, height // f, f, width // f, f).permute(0, 1, 3, 5, 2, 4)
        return squares.reshape(x.shape[0], *self.latent_domain.shape), x.new_zeros(x.shape[0])
