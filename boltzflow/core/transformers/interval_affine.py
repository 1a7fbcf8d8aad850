"""Affine maps on intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import DomainError

_BOUND = 2.0  # of the log-scale
_LEAST = 1e-18  # fraction of the range, so that the bounds themselves have finite images


class IntervalAffine(Transformer):
    """A shift and a scale of a coordinate in which an interval is the whole real line; on real lines an affine map.

    A fraction u of an interval becomes l = (u − ½)/√(u(1 − u)), is scaled about its location and shifted, and goes back
    by the inverse, u = ½ + ½ l/√(1 + l²). Near the middle this is an affine map of u; the bounds stay where they are,
    with slopes that are finite and positive. Two parameters for a coordinate are all that a narrow and nearly normal
    density needs, such as that of a bond length or angle: a third of those of the smallest spline.

    Args:
        domain: d intervals and real coordinates.
        location, width: (d,) or None: the expected centre and spread of each coordinate in the domain's units, which
            are the origin and the unit of the map; by default the middle and a quarter of an interval, and 0 and 1.
            An infinite width means the default.

    Raises:
        DomainError: if the domain is not flat or a coordinate is a circle.

    >>> affine = IntervalAffine(Domain.interval(0.0, 1.0))
    >>> affine(torch.tensor([[0.0, 0.5, 1.0]]), torch.ones(2, 1, 3))[0]
    tensor([[0.0000, 0.7236, 1.0000]])
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
        line, log_in = self._to_line(z)
        image = (line - home) * log_scale.exp() + (home + shift)
        x, log_out = self._from_line(image)
        return x, log_scale + log_in - log_out

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        home, shift, log_scale = self._map(x, parameters)
        line, log_in = self._to_line(x)
        image = (line - (home + shift)) * (-log_scale).exp() + home
        z, log_out = self._from_line(image)
        return z, log_in - log_out - log_scale

    def select(self, index: Tensor) -> IntervalAffine:
        part = IntervalAffine(self.domain[index.tolist()])
        for name in ("home", "unit"):
            setattr(part.constants, name, getattr(self.constants, name)[index])
        return part

    def _map(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Origin, shift and log-scale on the line."""
        home, unit = self.constants.home.to(x.dtype), self.constants.unit.to(x.dtype)
        return home, unit * parameters[0], _BOUND * (parameters[1] / _BOUND).tanh()

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The place on the line, and the logarithm of its slope, without the constant factor of the range."""
        low, high = self.constants.low.to(x.dtype), self.constants.high.to(x.dtype)
        below, above = (x - low) / (high - low) + _LEAST, (high - x) / (high - low) + _LEAST
        inside = torch.where(self.real, 1.0, below * above)
        line = torch.where(self.real, x, 0.5 * (below - above) / inside.sqrt())
        return line, torch.where(self.real, 0.0, -1.5 * (4.0 * inside).log())

    def _from_line(self, line: Tensor) -> tuple[Tensor, Tensor]:
        """The state from its place on the line, and the logarithm of the slope of `_to_line` there."""
        low, high = self.constants.low.to(line.dtype), self.constants.high.to(line.dtype)
        square = torch.where(self.real, 0.0, line.square())
        root = (1.0 + square).sqrt()
        # The distance from the nearer bound, without a difference of nearly equal numbers.
        nearer = (high - low) * 0.5 / (root * (root + line.abs()))
        state = torch.where(self.real, line, torch.where(line < 0.0, low + nearer, high - nearer))
        return state, 1.5 * square.log1p()
