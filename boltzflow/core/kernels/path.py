"""Paths of densities between two densities, for annealing and stochastic layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.protocols import Target
from boltzflow.errors import OptionError


class GeometricPath:
    """log π_λ(x) = (1 − λ) log q(x) + λ log g(x) from q (λ = 0) to g = p^α q^(1−α) (λ = 1).

    With α = 1 the final density is p; with α = 2 it is p²/q, the importance density that minimises the variance of the
    α-divergence (Midgley et al. 2023, arXiv 2208.01893). Interpolated log-densities give a geometric path
    (Neal 2001, arXiv physics/9803008). Densities are unnormalised, and zero (log −∞) where an end with nonzero weight
    is not finite. The object has no parameters: the two densities are not copied, moved or saved with it.

    Args:
        start: q, any object with ``log_prob(x, context)``: a distribution, a flow or a target.
        end: p, likewise.
        alpha: α, any finite number.

    Raises:
        OptionError: if `alpha` is not finite.

    >>> from boltzflow.core import Domain, distributions
    >>> wide, narrow = (distributions.Independent(Domain.real(1), width=torch.tensor([w])) for w in (2.0, 0.5))
    >>> path = GeometricPath(wide, narrow)
    >>> x = torch.ones(1, 1)
    >>> bool(path.log_prob(x, fraction=1.0) == narrow.log_prob(x))
    True
    """

    def __init__(self, start: Target, end: Target, alpha: float = 1.0) -> None:
        if not math.isfinite(alpha):
            raise OptionError(f"GeometricPath: expected a finite alpha; got {alpha}.")
        self.start = start
        self.end = end
        self.alpha = alpha

    def log_prob(self, x: Tensor, context: Tensor | None = None, *, fraction: float) -> Tensor:
        """Log-density (batch,) of x (batch, *shape) at λ = `fraction`, up to a constant.

        Raises:
            OptionError: if `fraction` is not in [0, 1].
        """
        share = self.alpha * checked_fraction(fraction, "GeometricPath.log_prob")
        parts = [
            weight * density.log_prob(x, context)
            for weight, density in ((1.0 - share, self.start), (share, self.end))
            if weight != 0.0
        ]
        # Term by term, because −∞ of one end and +∞ of the other would give NaN.
        finite = torch.stack([part.isfinite() for part in parts]).all(0)
        return torch.where(finite, torch.stack(parts).sum(0), -torch.inf)

    def slope(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """∂ log π_λ/∂λ = α (log p − log q) (batch,) of x (batch, *shape): the same at each λ; −∞ where not finite."""
        slope = self.alpha * (self.end.log_prob(x, context) - self.start.log_prob(x, context))
        return torch.where(slope.isfinite(), slope, -torch.inf)


def checked_fraction(fraction: float, where: str) -> float:
    """Return `fraction` after checking that it is in [0, 1].

    Raises:
        OptionError: if it is outside [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise OptionError(f"{where}: expected a fraction in [0, 1]; got {fraction:g}.")
    return fraction
