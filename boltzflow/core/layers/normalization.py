"""Normalisation layers."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.functional import shared_moments
from boltzflow.core.layer import Bijection
from boltzflow.core.layers.elementwise import ElementwiseAffine
from boltzflow.core.nets import DataNormalizer
from boltzflow.errors import DomainError, OptionError


class ActNorm(Bijection):
    """x = scale · z + shift, initialised so that the first training batch is normalised to mean 0 and variance 1.

    Kingma & Dhariwal 2018, arXiv 1807.03039. One scale and shift for each coordinate of a flat domain, or for each
    channel of an image. The first batch may come in either direction, and its output is normalised; afterwards scale
    and shift are learned. Until then the layer is the identity. The state dict records whether it was initialised. A
    batch without a spread (empty, or a single row of a flat domain) is ignored. In data-parallel training
    (`torch.distributed`) the first batch is that of all processes together.

    Args:
        domain: real, of any event shape.
        context_size: size of the context on which log scale and shift depend linearly; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.

    >>> layer = ActNorm(Domain.real(1))
    >>> layer.inverse(torch.tensor([[3.0], [7.0]]))[0].tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, domain: Domain, *, context_size: int = 0) -> None:
        super().__init__(domain, domain)
        shape = _shared_shape(domain, "ActNorm")
        self.normalizer = DataNormalizer(shape, context_size)
        self.copies = len(domain) // shape[0]

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        self.normalizer.see(z, undo=True)
        log_scale = self.normalizer.log_scale(context)
        return z * log_scale.exp() + self.normalizer.shift(context), self._log_ratio(log_scale, z)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        z = self.normalizer(x, context)
        return z, -self._log_ratio(self.normalizer.log_scale(context), x)

    def _log_ratio(self, log_scale: Tensor, x: Tensor) -> Tensor:
        return (self.copies * log_scale.flatten(1).sum(1)).expand(x.shape[0])


class BatchNorm(Bijection):
    """x = standard deviation · z' + mean, with those of the data, and z' = scale · z + shift with learned parameters.

    Dinh et al. 2016, arXiv 1605.08803. One mean and variance for each coordinate of a flat domain, or for each
    channel of an image.

    In evaluation mode both directions use running averages, and the layer is an exact bijection. In training mode
    `inverse` (data to latent) normalises by the batch moments, through which gradients flow, and updates the running
    averages. Its log_ratio is that of the map with fixed batch moments, so that the densities are those of a flow that
    changes from batch to batch. `forward` always uses the running averages. It is therefore not the inverse of
    `inverse` in training mode, and objectives that sample and evaluate (path gradients) need evaluation mode.
    A training batch with fewer than two values for each variance (empty, or a single row of a flat domain) is
    normalised by the running averages and does not update them. In data-parallel training (`torch.distributed`) the
    running averages include the batches of all processes, while each process normalises by its own batch.

    Args:
        domain: real, of any event shape.
        momentum: weight of a new batch in the running averages.
        eps: added to variances.
        context_size: size of the context on which the learned scale and shift depend; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        OptionError: if the momentum is not in (0, 1].

    >>> layer = BatchNorm(Domain.real(1))
    >>> layer.inverse(torch.tensor([[3.0], [7.0]]))[0].round().tolist()
    [[-1.0], [1.0]]
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, domain: Domain, *, momentum: float = 0.1, eps: float = 1e-5, context_size: int = 0) -> None:
        super().__init__(domain, domain)
        shape = _shared_shape(domain, "BatchNorm")
        if not 0.0 < momentum <= 1.0:
            raise OptionError(f"BatchNorm: expected a momentum in (0, 1]; got {momentum:g}.")
        self.momentum, self.eps = momentum, eps
        self.copies = len(domain) // shape[0]
        self.axes = [0, *range(2, len(domain.shape) + 1)]
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.affine = ElementwiseAffine(domain, torch.ones(shape), torch.zeros(shape), context_size=context_size)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, log_ratio = self.affine(z, context)
        deviation = (self.variance + self.eps).sqrt()
        return x * deviation + self.mean, log_ratio + self.copies * deviation.log().sum()

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, variance = self._batch_moments(x) if self.training else (self.mean, self.variance)
        deviation = (variance + self.eps).sqrt()
        z, log_ratio = self.affine.inverse((x - mean) / deviation, context)
        return z, log_ratio - self.copies * deviation.log().sum()

    def _batch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            mean, deviation, count = shared_moments(x, self.axes)
            if count > 1:
                self.mean.lerp_(mean[0], self.momentum)
                self.variance.lerp_(deviation[0].square(), self.momentum)
        if x.numel() < 2 * self.mean.numel():
            return self.mean, self.variance
        mean = x.mean(self.axes, keepdim=True)[0]
        return mean, (x - mean).square().mean(self.axes, keepdim=True)[0]


def _shared_shape(domain: Domain, where: str) -> tuple[int, ...]:
    """One number for each index along the first axis."""
    if found := [c for c in domain if c.kind != "real"]:
        raise DomainError(f"{where}: expected real coordinates; got {found[0]}.")
    return (domain.shape[0], *[1] * (len(domain.shape) - 1))
