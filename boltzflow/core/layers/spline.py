"""Rational-quadratic spline couplings on mixed domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain, wrap
from boltzflow.core.functional import parameter_count, permute_rows, rational_quadratic_spline
from boltzflow.core.layer import Bijection
from boltzflow.core.nets import MLP, DomainFeatures
from boltzflow.errors import DomainError, OptionError

Trunk = Callable[[int], nn.Module]
"""From the number of inputs to a net that ends in an activation and knows its `out_features`."""


class SplineCoupling(Bijection):
    """Some coordinates pass through a monotone spline whose knots a net computes from the others.

    Durkan et al. 2019, arXiv 1906.04032; circles after Rezende et al. 2020, arXiv 2002.02428. Each direction
    costs one pass through the net.

    Args:
        domain: flat, of D coordinates of any kinds.
        mask: D booleans: True where a coordinate is transformed.
        bins: number of bins of each spline.
        trunk: makes the net (without its last linear layer) from the number of its inputs; by default an
            `MLP` with two hidden layers of 128.
        bound: real coordinates are transformed within location ± bound·width, and left alone outside.
        location, width: (D,) or None: where a coordinate is expected to be and how widely it is spread, in
            the domain's units; infinite widths mean "anywhere". They set the scale of the net's inputs and
            put the first knots where the density is, so that bins are not spent on empty tails.
        seam: (number of circles,) or None: where each circle's spline is cut open, in the domain's units.
            A spline maps its seam to itself, so successive couplings should differ in it.
        context_size: size of the context that the net is shown; 0 means that context is ignored.

    Raises:
        DomainError: if the mask is not one boolean for each coordinate.
        OptionError: if nothing is transformed, or fewer than two bins are asked for.

    >>> domain = Domain.real(1) + Domain.circle(1)
    >>> layer = SplineCoupling(domain, mask=[False, True], bins=4)
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    real: Tensor
    circle: Tensor
    split_order: Tensor
    join_order: Tensor

    def __init__(
        self,
        domain: Domain,
        mask: Sequence[bool],
        *,
        bins: int = 8,
        trunk: Trunk | None = None,
        bound: float = 5.0,
        location: Tensor | None = None,
        width: Tensor | None = None,
        seam: Tensor | None = None,
        context_size: int = 0,
    ) -> None:
        super().__init__(domain, domain)
        if len(mask) != len(domain):
            raise DomainError(f"SplineCoupling: expected a mask of {len(domain)} booleans; got {len(mask)}.")
        if not any(mask):
            raise OptionError("SplineCoupling: expected a mask that transforms at least one coordinate; got none.")
        if bins < 2:
            raise OptionError(f"SplineCoupling: expected at least 2 bins; got {bins}.")
        self.bins = bins
        self.context_size = context_size
        chosen = torch.tensor([i for i, moved in enumerate(mask) if moved])
        kept = torch.tensor([i for i, moved in enumerate(mask) if not moved], dtype=torch.long)
        part = domain[chosen.tolist()]
        self._register_splines(domain, part, chosen, bound, location, width, seam)
        self.register_buffer("split_order", torch.cat([kept, chosen]), persistent=False)
        self.register_buffer("join_order", self.split_order.argsort(), persistent=False)
        self.moved = len(chosen)

        self.features = DomainFeatures(domain, location, width, visible=~torch.tensor(list(mask)))
        make = trunk if trunk is not None else (lambda inputs: MLP(inputs, (128, 128)))
        self.trunk = make(self.features.size + context_size)
        self.head = nn.Linear(int(self.trunk.out_features), parameter_count(bins) * len(part))  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _register_splines(
        self,
        domain: Domain,
        part: Domain,
        chosen: Tensor,
        bound: float,
        location: Tensor | None,
        width: Tensor | None,
        seam: Tensor | None,
    ) -> None:
        """Bounds, kinds and first knots of the transformed coordinates, as columns (d, 1): batch comes last."""
        like = torch.empty(0, dtype=torch.float64)
        real = torch.tensor([c.kind == "real" for c in part])
        circle = torch.tensor([c.kind == "circle" for c in part])
        centre = torch.zeros(len(part)).double() if location is None else location.double()[chosen]
        spread = torch.full_like(centre, torch.inf) if width is None else width.double()[chosen]
        shift = torch.zeros(len(domain)).double()
        if seam is not None:
            circles = list(domain.indices("circle"))
            shift[circles] = seam.double() - domain[circles].lows(like)
        reach = bound * torch.where(spread.isfinite(), spread, 1.0)
        low = torch.where(real, centre - reach, part.lows(like) + shift[chosen])
        high = torch.where(real, centre + reach, part.highs(like) + shift[chosen])
        low, high, centre, spread, circle = (t[:, None] for t in (low, high, centre, spread, circle))
        logits = _peaked_bin_sizes(low, high, centre, spread, circle, self.bins).log().T
        start = torch.cat([logits, logits, logits.new_zeros(self.bins + 1, len(part))])[:, :, None]
        home = torch.where(circle, part.lows(like)[:, None], 0.0)
        self.constants = Constants(low=low, high=high, start=start, home=home)
        self.register_buffer("real", real[:, None], persistent=False)
        self.register_buffer("circle", circle, persistent=False)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(z, context, inverse=False)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(x, context, inverse=True)

    def _transform(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        inputs = self.features(x)
        if self.context_size:
            if context is None:
                raise OptionError(f"SplineCoupling: expected a context of size {self.context_size}; got none.")
            inputs = torch.cat([inputs, context], -1)
        # Batch comes last here: the kernel then runs over contiguous memory for each of its parameters.
        raw = torch.addmm(self.head.bias[:, None], self.head.weight, self.trunk(inputs).T)
        kept, moving = permute_rows(x.T, self.split_order, self.join_order).tensor_split([-self.moved])
        low, high, start, home = (
            constant.to(x.dtype)
            for constant in (self.constants.low, self.constants.high, self.constants.start, self.constants.home)
        )
        moved, log_slope = rational_quadratic_spline(
            moving,
            raw.view(-1, *moving.shape) + start,
            low,
            high,
            real=self.real,
            circle=self.circle,
            inverse=inverse,
        )
        moved = torch.where(self.circle, wrap(moved, home, home + (high - low)), moved)
        out = permute_rows(torch.cat([kept, moved]), self.join_order, self.split_order).T
        return out, log_slope.sum(0)

    def extra_repr(self) -> str:
        return f"{self.moved} of {len(self.data_domain)} coordinates, bins={self.bins}"


def _peaked_bin_sizes(low: Tensor, high: Tensor, centre: Tensor, spread: Tensor, circle: Tensor, bins: int) -> Tensor:
    """Sizes (d, K), as shares of the range, of bins that hold equal parts of a logistic around the centre.

    The logistic has twice the given spread, for what is expected is known roughly only; circles and
    coordinates of unknown spread get equal bins.
    """
    share = torch.linspace(0.0, 1.0, bins + 1, dtype=low.dtype)
    equal = share.expand(low.shape[0], -1)
    scale = 2.0 * spread / 1.7  # a logistic of scale s is close to a normal of width 1.7 s
    known = spread.isfinite() & ~circle
    scale = torch.where(known, scale, torch.ones_like(scale))
    first, last = torch.sigmoid((low - centre) / scale), torch.sigmoid((high - centre) / scale)
    inner = centre + scale * torch.logit(first + (last - first) * share)
    peaked = ((inner - low) / (high - low)).clamp(0.0, 1.0)
    peaked[:, 0], peaked[:, -1] = 0.0, 1.0
    return torch.where(known, peaked, equal).diff(dim=1)
