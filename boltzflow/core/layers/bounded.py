"""Maps between the real line and bounded domains: intervals, pixels, circles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.core.functional import held
from boltzflow.core.layer import Bijection
from boltzflow.errors import DomainError, OptionError


class ToInterval(Bijection):
    """Real coordinates to the intervals of a domain, by the logistic function; other coordinates are unchanged.

    x = low + (high − low) · σ(z). `Inverse(ToInterval(domain))` maps intervals to the real line.
    Ignores `context`.

    Args:
        domain: the data domain, flat, with the intervals.

    Raises:
        DomainError: if there is no interval.

    >>> layer = ToInterval(Domain.interval(0.0, 4.0) + Domain.circle(1))
    >>> print(layer.latent_domain)
    Domain[real, circle(-3.142, 3.142)]
    >>> layer(torch.zeros(1, 2))[0]
    tensor([[2., 0.]])
    """

    bounded: Tensor

    def __init__(self, domain: Domain) -> None:
        if not domain.indices("interval"):
            raise DomainError(f"ToInterval: expected a domain with an interval; got {domain}.")
        latent = Domain.of([Coordinate("real", name=c.name) if c.kind == "interval" else c for c in domain])
        super().__init__(latent, domain)
        bounded = torch.tensor([c.kind == "interval" for c in domain])
        like = torch.empty(0, dtype=torch.float64)
        self.register_buffer("bounded", bounded, persistent=False)
        self.constants = Constants(
            low=torch.where(bounded, domain.lows(like), 0.0), high=torch.where(bounded, domain.highs(like), 1.0)
        )

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        low, high = self.constants.low.to(z.dtype), self.constants.high.to(z.dtype)
        x, log_slope = _logistic(z, low, high)
        return torch.where(self.bounded, x, z), torch.where(self.bounded, log_slope, 0.0).sum(1)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        low, high = self.constants.low.to(x.dtype), self.constants.high.to(x.dtype)
        z, log_slope = _logit(torch.where(self.bounded, x, (low + high) / 2), low, high)
        return torch.where(self.bounded, z, x), torch.where(self.bounded, log_slope, 0.0).sum(1)


class Logit(Bijection):
    """Pixels between 0 and 1 to the real line: z = logit(α + (1 − 2α) x), the last layer of an image flow.

    Dinh et al. 2016, arXiv 1605.08803. α keeps the logits of black and white pixels finite. The image of this map
    is (−α, 1 − α)/(1 − 2α), slightly larger than [0, 1]; a state outside has log_ratio −∞, so that the density
    is exact everywhere. Ignores `context`.

    Args:
        domain: real, of any event shape.
        alpha: α in [0, 1/2).

    Raises:
        DomainError: if a coordinate is not real.
        OptionError: if α is out of range.

    >>> layer = Logit(Domain.real((1, 2, 2)))
    >>> layer(torch.zeros(1, 1, 2, 2))[0].unique()
    tensor([0.5000])
    """

    def __init__(self, domain: Domain, *, alpha: float = 0.05) -> None:
        if found := [c for c in domain if c.kind != "real"]:
            raise DomainError(f"Logit: expected real coordinates; got {found[0]}.")
        if not 0.0 <= alpha < 0.5:
            raise OptionError(f"Logit: expected alpha in [0, 0.5); got {alpha:g}.")
        super().__init__(domain, domain)
        low = torch.tensor(-alpha / (1.0 - 2.0 * alpha), dtype=torch.float64)
        self.constants = Constants(low=low, high=1.0 - low)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, log_slope = _logistic(z, self.constants.low.to(z.dtype), self.constants.high.to(z.dtype))
        return x, log_slope.flatten(1).sum(1)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        low, high = self.constants.low.to(x.dtype), self.constants.high.to(x.dtype)
        inside = ((x >= low) & (x <= high)).flatten(1).all(1)
        z, log_slope = _logit(x, low, high)
        return z, torch.where(inside, log_slope.flatten(1).sum(1), -torch.inf)


class Wrap(Bijection):
    """Circles taken modulo their circumference, in both directions; other coordinates are unchanged.

    The map from the real line to a circle is not a bijection. This layer is the identity on the circle, for data with
    unbounded angles in layers that are used separately. `Flow.log_prob` wraps automatically.
    Ignores `context`.

    Args:
        domain: flat, of any kinds.

    >>> Wrap(Domain.circle(1, 0.0, 1.0)).inverse(torch.tensor([[2.25]]))[0]
    tensor([[0.2500]])
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain, domain)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.data_domain.wrap(z), z.new_zeros(z.shape[0])

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.latent_domain.wrap(x), x.new_zeros(x.shape[0])


def _logistic(z: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """low + (high − low) σ(z) and the log of its slope."""
    x = low + (high - low) * torch.sigmoid(z)
    return x.clamp(low, high), (high - low).log() - softplus(z) - softplus(-z)


def _logit(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `_logistic` and the log of its slope; points within rounding of an edge are moved inside."""
    length = high - low
    least = torch.finfo(x.dtype).eps * length
    left, right = held(x - low, least, length), held(high - x, least, length)
    return left.log() - right.log(), (high - low).log() - left.log() - right.log()
