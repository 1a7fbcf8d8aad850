"""One-dimensional densities given by tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.domain import Domain
from boltzflow.errors import DomainError, OptionError, ShapeError


class Tabulated(Distribution):
    """A product of densities on intervals and circles, each linear between the knots of its own table.

    Samples come from the inverse of the cumulative distribution, the root of a quadratic. Ignores `context`.

    Args:
        domain: flat, of D intervals and circles.
        knots: (D, K), ascending, from each coordinate's lower bound to its upper one.
        values: (D, K), positive: the density at the knots, unnormalised for each coordinate.

    Raises:
        DomainError: if a coordinate is real.
        ShapeError: if the tables do not have one row of at least two knots for each coordinate.
        OptionError: if knots do not ascend from bound to bound, or a value is not positive; names the coordinate.

    >>> base = Tabulated(Domain.interval(0.0, 1.0), torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[1.0, 3.0, 1.0]]))
    >>> base.log_prob(torch.tensor([[0.5]])).exp()
    tensor([1.5000])
    """

    knots: Tensor
    values: Tensor
    below: Tensor

    def __init__(self, domain: Domain, knots: Tensor, values: Tensor) -> None:
        super().__init__(domain)
        if domain.indices("real"):
            raise DomainError(f"Tabulated: expected intervals and circles; got {domain[domain.indices('real')[0]]}.")
        if knots.dim() != 2 or knots.shape[1] < 2 or len(knots) != len(domain) or values.shape != knots.shape:
            raise ShapeError(
                f"Tabulated: expected knots and values of shape ({len(domain)}, at least 2); "
                f"got {tuple(knots.shape)} and {tuple(values.shape)}."
            )
        knots, values = knots.double().clone(), values.double()
        ends = torch.stack([knots[:, 0], knots[:, -1]], 1)
        bounds = torch.stack([domain.lows(ends), domain.highs(ends)], 1)
        ascends = (knots.diff(dim=1) > 0).all(1) & (
            (ends - bounds).abs() <= 1e-6 * (bounds[:, 1:] - bounds[:, :1])
        ).all(1)
        for coordinate, sound in zip(domain, (ascends & (values > 0).all(1)).tolist(), strict=True):
            if not sound:
                raise OptionError(
                    f"Tabulated: expected knots ascending from bound to bound and positive values; got others for "
                    f"{coordinate}."
                )
        knots[:, 0], knots[:, -1] = bounds.unbind(1)
        areas = 0.5 * (values[:, 1:] + values[:, :-1]) * knots.diff(dim=1)
        total = areas.sum(1, keepdim=True)
        below = torch.cat([torch.zeros_like(total), (areas / total).cumsum(1)], 1)
        dtype = torch.get_default_dtype()
        self.register_buffer("knots", knots.to(dtype))
        self.register_buffer("values", (values / total).to(dtype))
        self.register_buffer("below", below.to(dtype))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state dict may contain tables of another length; it determines the number of knots."""
        for name, table in self.named_buffers():
            found = state_dict.get(prefix + name)
            if isinstance(found, Tensor) and found.dim() == 2 and len(found) == len(table):
                setattr(self, name, table.new_empty(found.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        knots = self.knots
        share = torch.rand(len(self.domain), n, dtype=knots.dtype, device=knots.device, generator=generator)
        x = self._at_share(share)
        # The last knot may be a bound rounded to single precision.
        x = x.clamp(self.domain.lows(x), self.domain.highs(x))
        return x, self.log_prob(x)

    def quantile(self, share: Tensor) -> Tensor:
        """The quantiles of each coordinate. share: cumulative probabilities (n, D) in [0, 1] → (n, D)."""
        return self._at_share(share.T.contiguous())

    def cumulative(self, x: Tensor) -> Tensor:
        """The cumulative distribution of each coordinate from its lower bound. x: (n, D) → (n, D) in [0, 1]."""
        points = self.domain.wrap(x).T.contiguous()
        knots, values, below = (table.to(x) for table in (self.knots, self.values, self.below))
        cell = self._cell(knots, points)
        start, end = (torch.gather(values, 1, cell + i) for i in (0, 1))
        left, right = (torch.gather(knots, 1, cell + i) for i in (0, 1))
        step = points - left
        mean = start + 0.5 * (end - start) * step / (right - left)
        return (torch.gather(below, 1, cell) + mean * step).clamp(0.0, 1.0).T

    def marginal(self, i: int) -> Tabulated:
        """The density of coordinate i alone."""
        return Tabulated(self.domain[[i]], self.knots[i : i + 1], self.values[i : i + 1])

    def _at_share(self, share: Tensor) -> Tensor:
        """share: (D, n) → (n, D)."""
        knots, values, below = (table.to(share) for table in (self.knots, self.values, self.below))
        cell = self._cell(below, share)
        start, end = (torch.gather(values, 1, cell + i) for i in (0, 1))
        left, right = (torch.gather(knots, 1, cell + i) for i in (0, 1))
        rest = share - torch.gather(below, 1, cell)
        slope = (end - start) / (right - left)
        # The root of start·t + slope·t²/2 = rest, without cancellation.
        step = 2 * rest / (start + (start.square() + 2 * slope * rest).clamp(min=0).sqrt())
        return torch.minimum(torch.maximum(left + step, left), right).T

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Tabulated")
        return torch.where(self.domain.contains(x), self.log_densities(x).sum(1), -torch.inf)

    def log_densities(self, x: Tensor) -> Tensor:
        """The log-density of each coordinate. x: (n, D), inside the domain → (n, D)."""
        points = self.domain.wrap(x).T.contiguous()
        knots, values = self.knots.to(x), self.values.to(x)
        cell = self._cell(knots, points)
        start, end = (torch.gather(values, 1, cell + i) for i in (0, 1))
        left, right = (torch.gather(knots, 1, cell + i) for i in (0, 1))
        inside = (points - left) / (right - left)
        return (start + inside * (end - start)).clamp(min=torch.finfo(x.dtype).tiny).log().T

    def _cell(self, table: Tensor, x: Tensor) -> Tensor:
        """The index of the table cell that contains each number. table: (D, K), ascending; x: (D, n)."""
        return torch.searchsorted(table, x.detach()).sub(1).clamp(0, table.shape[1] - 2)
