"""Rational-quadratic splines whose knots are computed by a net."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain, wrap
from boltzflow.core.functional import MIN_BIN, parameter_count, rational_quadratic_spline
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import OptionError


class RationalQuadratic(Transformer):
    """Monotone rational-quadratic splines on real lines, intervals and circles, in closed form in both directions.

    Durkan et al. 2019, arXiv 1906.04032; circles after Rezende et al. 2020, arXiv 2002.02428.

    Args:
        domain: d coordinates of any kinds, or an array.
        bins: number of bins of each spline.
        bound: real coordinates are transformed within location ± bound·width, and unchanged outside: one number,
            or (d,).
        location, width: (d,) or None: the expected center (by default 0, or the middle of an interval) and spread of
            each coordinate, in the domain's units; infinite widths mean that it may be anywhere. They place the initial
            knots where the density is, so that bins are not wasted on empty tails.
        seam: (number of circles,) or None: where each circle's spline is cut open, in the domain's units.
            A spline maps its seam to itself, so successive layers should have different seams.

    Raises:
        OptionError: if there are fewer than two bins, or so many that their minimum sizes fill the range; if values for
            each coordinate are given for an array, whose coordinates are all of the same kind.

    >>> spline = RationalQuadratic(Domain.circle(2), bins=4)
    >>> angles, log_slope = spline(torch.zeros(2, 5), torch.zeros(spline.parameter_count, 2, 5))
    """

    real: Tensor
    circle: Tensor

    def __init__(
        self,
        domain: Domain,
        *,
        bins: int = 8,
        bound: float | Tensor = 5.0,
        location: Tensor | None = None,
        width: Tensor | None = None,
        seam: Tensor | None = None,
    ) -> None:
        if bins < 2:
            raise OptionError(f"RationalQuadratic: expected at least 2 bins; got {bins}.")
        if bins * MIN_BIN >= 1.0:
            raise OptionError(
                f"RationalQuadratic: expected fewer than {1.0 / MIN_BIN:g} bins, each of which takes "
                f"at least {MIN_BIN:g} of the range; got {bins}."
            )
        super().__init__(domain, parameter_count(bins))
        self.bins = bins
        self.informed = width is not None
        self.fast = False
        if len(domain.shape) == 1:
            self._register_columns(bound, location, width, seam)
        elif location is not None or width is not None or isinstance(bound, Tensor):
            raise OptionError(f"RationalQuadratic: expected a single bound without location or width for {domain}.")
        else:
            reach, zero = torch.tensor(bound), torch.tensor(0.0)
            self.constants = Constants(low=-reach, high=reach, start=zero, home=zero)
            self.register_buffer("real", torch.tensor(True), persistent=False)
            self.register_buffer("circle", torch.tensor(False), persistent=False)

    def _register_columns(
        self, bound: float | Tensor, location: Tensor | None, width: Tensor | None, seam: Tensor | None
    ) -> None:
        """Registers bounds, kinds and initial knots as columns (d, 1), because the batch comes last."""
        domain, like = self.domain, torch.empty(0, dtype=torch.float64)
        real = torch.tensor([c.kind == "real" for c in domain])
        circle = torch.tensor([c.kind == "circle" for c in domain])
        centre = domain.middle(like) if location is None else location.double()
        spread = torch.full_like(centre, torch.inf) if width is None else width.double()
        shift = torch.zeros_like(centre)
        if seam is not None:
            circles = list(domain.indices("circle"))
            shift[circles] = seam.double() - domain[circles].lows(like)
        reach = torch.as_tensor(bound).double() * torch.where(spread.isfinite(), spread, 1.0)
        low = torch.where(real, centre - reach, domain.lows(like) + shift)
        high = torch.where(real, centre + reach, domain.highs(like) + shift)
        low, high, centre, spread, circle = (t[:, None] for t in (low, high, centre, spread, circle))
        logits = _peaked_bin_sizes(low, high, centre, spread, circle, self.bins).log().T
        start = torch.cat([logits, logits, logits.new_zeros(self.bins + 1, len(domain))])[:, :, None]
        home = torch.where(circle, domain.lows(like)[:, None], 0.0)
        self.constants = Constants(low=low, high=high, start=start, home=home)
        self.register_buffer("real", real[:, None], persistent=False)
        self.register_buffer("circle", circle, persistent=False)

    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(z, parameters, inverse=False)

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(x, parameters, inverse=True)

    def compile_kernel(self) -> None:
        self.fast = True

    def select(self, index: Tensor) -> RationalQuadratic:
        part = RationalQuadratic(self.domain[index.tolist()], bins=self.bins)
        for name in ("low", "high", "home"):
            setattr(part.constants, name, getattr(self.constants, name)[index])
        part.constants.start = self.constants.start[:, index]
        part.informed = self.informed
        return part

    def _transform(self, x: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        low, high, start, home = (
            constant.to(x.dtype)
            for constant in (self.constants.low, self.constants.high, self.constants.start, self.constants.home)
        )
        if self.informed:
            parameters = parameters + start
        image, log_slope = rational_quadratic_spline(
            x, parameters, low, high, real=self.real, circle=self.circle, inverse=inverse, fast=self.fast
        )
        return torch.where(self.circle, wrap(image, home, home + (high - low)), image), log_slope

    def extra_repr(self) -> str:
        return f"bins={self.bins}"


def _peaked_bin_sizes(low: Tensor, high: Tensor, centre: Tensor, spread: Tensor, circle: Tensor, bins: int) -> Tensor:
    """Sizes (d, K), as fractions of the range, of bins with equal probability of a logistic around the centre.

    The logistic has twice the given spread, because the expected spread is only approximate. Circles and
    coordinates of unknown spread get equal bins.
    """
    fraction = torch.linspace(0.0, 1.0, bins + 1, dtype=low.dtype)
    equal = fraction.expand(low.shape[0], -1)
    scale = 2.0 * spread / 1.7  # a logistic of scale s is close to a normal of width 1.7 s
    known = spread.isfinite() & ~circle
    scale = torch.where(known, scale, torch.ones_like(scale))
    first, last = torch.sigmoid((low - centre) / scale), torch.sigmoid((high - centre) / scale)
    inner = centre + scale * torch.logit(first + (last - first) * fraction)
    peaked = ((inner - low) / (high - low)).clamp(0.0, 1.0)
    peaked[:, 0], peaked[:, -1] = 0.0, 1.0
    return torch.where(known, peaked, equal).diff(dim=1)
