"""Normal densities with independent coordinates: fixed, learned, conditional, and the base of Glow."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.distributions.parameter import check_broadcasts, check_rows, make_parameter
from boltzflow.core.domain import Domain
from boltzflow.core.nets import ContextParameter
from boltzflow.errors import DomainError, OptionError, ShapeError

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class Normal(Distribution):
    """A normal density on real coordinates, which can be sampled at a different temperature.

    Raises:
        DomainError: if a coordinate is not real.
    """

    def __init__(self, domain: Domain) -> None:
        for coordinate in domain:
            if coordinate.kind != "real":
                raise DomainError(f"{type(self).__name__}: expected real coordinates; got {coordinate}.")
        super().__init__(domain)
        self.temperature = 1.0

    def tempered(self, temperature: float) -> Self:
        """The same density with standard deviations multiplied by `temperature`; parameters are shared, not copied.

        Samples of image flows look better at 0.7 or so (Kingma & Dhariwal 2018, arXiv 1807.03039).

        Raises:
            OptionError: if the temperature is not positive.
        """
        if not temperature > 0.0:
            raise OptionError(f"{type(self).__name__}: expected a positive temperature; got {temperature:g}.")
        sibling = copy.copy(self)  # a module's shallow copy has the same parameters and submodules
        sibling.temperature = self.temperature * temperature
        return sibling


class IndependentNormal(Normal):
    """A normal density with independent coordinates; a subclass defines means and widths."""

    @abstractmethod
    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means and log standard deviations at temperature 1; both broadcast to (batch, *shape)."""

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._tempered_moments(context)
        check_rows(max(len(mean), len(log_scale)), n, type(self).__name__)
        noise = torch.randn(n, *self.domain.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + log_scale.exp() * noise, _log_normal(noise, log_scale)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, type(self).__name__)
        mean, log_scale = self._tempered_moments(context)
        return _log_normal((x - mean) * (-log_scale).exp(), log_scale)

    def _tempered_moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.moments(context)
        return mean, log_scale + math.log(self.temperature)


class DiagonalNormal(IndependentNormal):
    """Independent normal densities with one mean and one width for each coordinate, or shared between coordinates.

    A location of shape (C, 1, 1) on images has one mean for each channel. With one-hot or soft class labels
    as context, each class has its own mean and width, and soft labels interpolate between them.

    Args:
        domain: real, of any event shape.
        location: broadcasts to the event shape; by default 0 for each coordinate.
        scale: standard deviations, positive, broadcasts to the event shape; by default 1 for each coordinate.
        trainable: whether location and scale are learned; they always are with a context.
        context_size: size of the context on which location and log-scale depend linearly; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        ShapeError: if location or scale do not broadcast to the event shape.
        OptionError: if a scale is not positive.

    >>> base = DiagonalNormal(Domain.real((3, 8, 8)), scale=torch.full((3, 1, 1), 0.5), trainable=True)
    >>> x, log_prob = base.sample(5)
    >>> x.shape, log_prob.shape
    (torch.Size([5, 3, 8, 8]), torch.Size([5]))
    >>> cool = base.tempered(0.7)  # standard deviations times 0.7, parameters shared
    """

    def __init__(
        self,
        domain: Domain,
        location: Tensor | None = None,
        scale: Tensor | None = None,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__(domain)
        location = torch.zeros(domain.shape) if location is None else location
        scale = torch.ones(domain.shape) if scale is None else scale
        check_broadcasts(location, domain.shape, "location", "DiagonalNormal")
        check_broadcasts(scale, domain.shape, "scale", "DiagonalNormal")
        if not bool((scale > 0.0).all()):
            raise OptionError(f"DiagonalNormal: expected positive scales; got {scale.min().item():g}.")
        self.location = make_parameter(location, trainable, context_size)
        self.log_scale = make_parameter(scale.log(), trainable, context_size)

    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.location(context), self.log_scale(context)


class ConditionalNormal(IndependentNormal):
    """Independent normal densities whose means and log-widths a net computes from the context.

    The encoder q(z | x) of a variational autoencoder with the image as context, and its decoder p(x | z) with
    the latent state as context (Kingma & Welling 2014, arXiv 1312.6114).

    Args:
        domain: real, of any event shape, D coordinates in all.
        net: context (batch, …) → (batch, 2D): means, then log standard deviations.

    Raises:
        DomainError: if a coordinate is not real.
        OptionError: if the context is missing.
        ShapeError: if the net does not return 2D numbers for each state.

    >>> encoder = ConditionalNormal(Domain.real(2), nn.Linear(64, 4))
    >>> z, log_q = encoder.sample(5, torch.rand(5, 64))
    >>> z.shape, log_q.shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, domain: Domain, net: nn.Module) -> None:
        super().__init__(domain)
        self.net = net

    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if context is None:
            raise OptionError("ConditionalNormal: expected a context; got none.")
        batch, size = context.shape[0], len(self.domain)
        out = self.net(context)
        if tuple(out.shape) != (batch, 2 * size):
            raise ShapeError(
                f"ConditionalNormal: expected the net to return ({batch}, {2 * size}); got {tuple(out.shape)}."
            )
        mean, log_scale = out.view(batch, 2, *self.domain.shape).unbind(1)
        return mean, log_scale


class GlowNormal(IndependentNormal):
    """The base of Glow: one learned mean and log-width for each channel (Kingma & Dhariwal 2018, arXiv 1807.03039).

    Each number is parametrised as a product v·exp(3s), which can grow faster than v alone. Initially it is the
    standard normal density.

    Args:
        domain: real, of shape (channels, …).
        context_size: size of the context, usually class labels; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.

    >>> base = GlowNormal(Domain.real((4, 2, 2)), context_size=10)
    >>> base.sample(5, torch.eye(10)[:5])[0].shape
    torch.Size([5, 4, 2, 2])
    """

    rate = 3.0

    def __init__(self, domain: Domain, *, context_size: int = 0) -> None:
        super().__init__(domain)
        start = torch.zeros(domain.shape[0], *[1] * (len(domain.shape) - 1))
        self.location = ContextParameter(start, context_size)
        self.log_scale = ContextParameter(start, context_size)
        self.location_gain = nn.Parameter(start.clone())
        self.log_scale_gain = nn.Parameter(start.clone())

    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        location = self.location(context) * (self.rate * self.location_gain).exp()
        return location, self.log_scale(context) * (self.rate * self.log_scale_gain).exp()


def _log_normal(noise: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density (batch,) of scale·noise. noise: (batch, *shape); log_scale broadcasts to it."""
    terms: Tensor = -0.5 * noise.square() - log_scale - LOG_SQRT_2PI
    return terms.flatten(1).sum(1)
