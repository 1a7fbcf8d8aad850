"""Affine maps on intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import DomainError

_BOUND = 2.0  # of the log-scale


class IntervalAffine(Transformer):
    """A shift and a scale of a coordinate in which an interval is the whole real line; on real lines an affine map.

    A fraction u of an interval becomes l = (u − ½)/√(u(1 − u)), is scaled about its location and shifted, and goes back
    by the inverse, u = ½ + ½ l/√(1 + l²). Near the middle this is an affine map of u. The bounds stay where they are,
    with slopes that are finite and positive, but have no finite derivatives there. Two parameters for a coordinate are
    all that a narrow and nearly normal density needs, such as that of a bond length or angle.

    Args:
        domain: d intervals and real coordinates.
        location, width: (d,) or None: the expected centre and spread of each coordinate in the domain's units, which
            are the origin and the unit of the map; by default the middle and a quarter of an interval, and 0 and 1.
            An infinite width means the default.

    Raises:
        DomainError: if the domain is not flat or a coordinate is a circle.

    >>> affine = IntervalAffine(Domain.interval(0.0, 1.0))
    >>> affine(torch.tensor([[0.2, 0.5, 0.8]]), torch.ones(2, 1, 3))[0]
    tensor([[0.0941, 0.7236, 0.9613]])
    """

    def __init__(self, domain: Domain, location: Tensor | None = None, width: Tensor | None = None) -> None:
        if len(domain.shape) != 1 or domain.indices("circle"):
            raise DomainError(f"IntervalAffine: expected a flat domain of intervals and real lines; got {domain}.")
        super().__init__(domain, 2)
        like = torch.empty(0, dtype=torch.float64)
        real = torch.tensor([c.kind == "real" for c in domain])
        low, high = (torch.where(real, end, bound(like)) for end, bound in ((0.0, domain.lows), (1.0, domain.highs)))
        size = high - low
        centre = domain.middle(like) if location is None else location.double()
        spread = torch.full_like(size, torch.inf) if width is None else width.double()
        spread = torch.where(spread.isfinite(), spread, torch.where(real, 1.0, size / 4))
        fraction = ((centre - low) / size).clamp(0.01, 0.99)
        on_line = fraction * (1 - fraction)
        home = torch.where(real, centre, (fraction - 0.5) / on_line.sqrt())
        unit = torch.where(real, spread, spread / size / (4 * on_line**1.5))
        columns = {"low": low, "high": high, "home": home, "unit": unit}
        self.constants = Constants(**{name: value[:, None] for name, value in columns.items()})
        self.register_buffer("real", real[:, None], persistent=False)

    real: Tensor

    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        home, shift, log_scale = self._map(z, parameters)
        return self._transform(z, log_scale, home, home + shift)

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        home, shift, log_scale = self._map(x, parameters)
        return self._transform(x, -log_scale, home + shift, home)

    def select(self, index: Tensor) -> IntervalAffine:
        part = IntervalAffine(self.domain[index.tolist()])
        for name in ("home", "unit"):
            setattr(part.constants, name, getattr(self.constants, name)[index])
        return part

    def _map(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Origin, shift and log-scale on the line."""
        home, unit = self.constants.home.to(x.dtype), self.constants.unit.to(x.dtype)
        return home, unit * parameters[0], _BOUND * (parameters[1] / _BOUND).tanh()

    def _transform(self, x: Tensor, log_scale: Tensor, origin: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Scale about an origin on the line, which goes to its image.

        With h = u − ½ and a = u(1 − u), l = h/√a and 1 + l² = 1/(4a). The image of l is g/√a with
        g = scale · (h − origin·√a) + image·√a, so that nothing is divided by a, which is 0 at the bounds.
        """
        scale, low, high = log_scale.exp(), self.constants.low.to(x.dtype), self.constants.high.to(x.dtype)
        below, above = (x - low) / (high - low), (high - x) / (high - low)
        h = 0.5 * (below - above)
        a = (below * above).clamp_min(0.0) + torch.finfo(x.dtype).eps ** 2  # a root with a finite slope
        root = a.sqrt()
        g = scale * (h - origin * root) + image * root
        square = torch.where(self.real, 1.0, a + g * g)
        # The distance from the nearer bound, without a difference of nearly equal numbers.
        nearer = (high - low) * 0.5 * a / (square.sqrt() * (square.sqrt() + g.abs()))
        inside = torch.where(g < 0.0, low + nearer, high - nearer)
        on_line = scale * (x - origin) + image
        log_slope = log_scale - torch.where(self.real, 0.0, 1.5 * (4.0 * square).log())
        return torch.where(self.real, on_line, inside), log_slope
