"""Targets between two densities."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from boltzflow.core.distributions.distribution import Density
from boltzflow.errors import DomainError, OptionError


class LinearInterpolation(nn.Module):
    """The unnormalised density p₀^(1−λ)·p₁^λ, linear in the log-densities. It cannot be sampled directly.

    Args:
        first: p₀; only its `log_prob` and `domain` are used.
        second: p₁, on the same domain.
        fraction: λ in [0, 1].

    Raises:
        DomainError: if the densities are on different domains.
        OptionError: if the fraction is not in [0, 1].

    >>> import torch
    >>> from boltzflow.core import Domain
    >>> from boltzflow.core.distributions import DiagonalNormal
    >>> narrow, wide = (DiagonalNormal(Domain.real(1), scale=torch.tensor(s)) for s in (1.0, 2.0))
    >>> middle = LinearInterpolation(narrow, wide, 0.5)
    >>> middle.log_prob(torch.zeros(1, 1)) - (narrow.log_prob(torch.zeros(1, 1)) + wide.log_prob(torch.zeros(1, 1))) / 2
    tensor([0.])
    """

    def __init__(self, first: Density, second: Density, fraction: float) -> None:
        if first.domain != second.domain:
            raise DomainError(f"LinearInterpolation: expected one domain; got {first.domain} and {second.domain}.")
        if not 0.0 <= fraction <= 1.0:
            raise OptionError(f"LinearInterpolation: expected a fraction in [0, 1]; got {fraction:g}.")
        super().__init__()
        self.domain = first.domain
        self.ends = nn.ModuleList(cast(list[nn.Module], [first, second]))
        self.fraction = fraction

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,) of x (batch, *shape), up to a constant."""
        first, second = cast(tuple[Density, Density], tuple(self.ends))
        # A density with weight zero is left out: where it is zero, 0·(−∞) would be NaN.
        if self.fraction == 0.0:
            return first.log_prob(x, context)
        if self.fraction == 1.0:
            return second.log_prob(x, context)
        return (1.0 - self.fraction) * first.log_prob(x, context) + self.fraction * second.log_prob(x, context)
