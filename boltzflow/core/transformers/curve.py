"""Increasing curves on the unit interval, mapped to real lines, intervals and circles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional import held, monotone_root
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import OptionError

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
"""u in [0, 1] → the height and the log of the slope at u, all of one shape."""


class CurveTransformer(Transformer):
    """A transformer defined by an increasing curve on [0, 1]; the inverse is a root search.

    A subclass defines the curve. An interval is mapped onto itself. A circle is mapped onto itself and rotated by a
    learned angle. A real line is transformed within ± bound, whose image may shift and grow, and continued outside with
    the slope at the bound. The first parameter is the angle, or the shift, as a fraction of the range; it is not used
    for intervals.

    Args:
        domain: d coordinates of any kinds, or an array.
        curve_parameters: the number of parameters of the curve; the shift is an additional one.
        bound: half the width of the range that is transformed on real lines.

    Raises:
        OptionError: if the bound is not positive.
    """

    def __init__(self, domain: Domain, curve_parameters: int, bound: float) -> None:
        if not bound > 0.0:
            raise OptionError(f"{type(self).__name__}: expected a positive bound; got {bound:g}.")
        super().__init__(domain, 1 + curve_parameters)
        self.bound = bound
        flat = len(domain.shape) == 1
        kinds = [c.kind for c in domain] if flat else ["real"]
        is_real, is_circle = (torch.tensor([kind == wanted for kind in kinds]) for wanted in ("real", "circle"))
        like = torch.empty(0, dtype=torch.float64)
        low = torch.where(is_real, -bound, domain.lows(like)[: len(kinds)])
        high = torch.where(is_real, bound, domain.highs(like)[: len(kinds)])
        # Columns for states (d, batch); scalars for states (batch, *shape).
        shape = (-1, 1) if flat else ()
        self.constants = Constants(low=low.view(shape), high=high.view(shape))
        self.register_buffer("is_real", is_real.view(shape), persistent=False)
        self.register_buffer("is_circle", is_circle.view(shape), persistent=False)

    is_real: Tensor
    is_circle: Tensor

    @abstractmethod
    def curve(self, parameters: Tensor) -> Curve:
        """The curve of these parameters (P − 1, *S).

        It starts at height 0; on intervals and circles it ends at 1; on circles the slopes at both ends are equal.
        """

    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self._range(z)
        at = self._turn((z - low) / (high - low))
        inside = at.clamp(0.0, 1.0)
        height, log_slope = self.curve(parameters[1:])(inside)
        beyond = torch.where(self.is_real, (at - inside) * log_slope.exp(), 0.0)
        return self._place(self._turn(height + beyond + self._shift(parameters)), low, high), log_slope

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self._range(x)
        curve = self.curve(parameters[1:])
        at = self._turn((x - low) / (high - low) - self._shift(parameters))
        top = torch.where(self.is_real, curve(torch.ones_like(at))[0], 1.0)
        # Not `minimum`, which halves the gradient if both are equal, as on the bound.
        height = torch.where(at > top, top, at.clamp(min=0.0))
        inside = monotone_root(curve, height, 0.0, 1.0)
        log_slope = curve(inside)[1]
        beyond = torch.where(self.is_real, (at - height) * (-log_slope).exp(), 0.0)
        return self._place(inside + beyond, low, high), -log_slope

    def _range(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.constants.low.to(like.dtype), self.constants.high.to(like.dtype)

    def _shift(self, parameters: Tensor) -> Tensor:
        return torch.where(self.is_real | self.is_circle, parameters[0], 0.0)

    def _turn(self, fraction: Tensor) -> Tensor:
        """Circles modulo 1."""
        return torch.where(self.is_circle, fraction - fraction.floor(), fraction)

    def _place(self, fraction: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """From fractions of the range to the coordinate; rounding cannot leave an interval."""
        x = low + (high - low) * fraction
        return torch.where(self.is_real | self.is_circle, x, held(x, low, high))

    def extra_repr(self) -> str:
        return f"{self.parameter_count} parameters, bound={self.bound:g}"
