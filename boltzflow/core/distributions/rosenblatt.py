"""The map of a density to the unit cube and back, coordinate by coordinate."""

from __future__ import annotations

from typing import TypeGuard, cast

import torch
from torch import Tensor

from boltzflow.core.distributions.distribution import Density
from boltzflow.core.distributions.mixture import Mixture
from boltzflow.core.distributions.tabulated import Tabulated

_HALVINGS = 60  # of a bracket: more than the digits of float64


def has_quantiles(density: Density) -> TypeGuard[Tabulated | Mixture]:
    """Whether `cumulative` and `quantile` know this density: tables, or a mixture of them."""
    if isinstance(density, Mixture):
        return all(isinstance(part, Tabulated) for part in density.components)
    return isinstance(density, Tabulated)


def cumulative(density: Tabulated | Mixture, x: Tensor) -> Tensor:
    """The cumulative probability of each coordinate, given those before it (Rosenblatt 1952).

    Samples of the density are mapped to uniform, independent numbers; the determinant of the map is the density.

    Args:
        density: one that `has_quantiles`.
        x: (n, D), inside the domain.

    Returns:
        (n, D) in [0, 1].

    >>> from boltzflow.core import Domain
    >>> knots, left = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[1.0, 1.0, 1e-6]])
    >>> parts = [Tabulated(Domain.interval(0.0, 1.0), knots, table) for table in (left, left.flip(1))]
    >>> cumulative(Mixture(parts), torch.tensor([[0.5]]))
    tensor([[0.5000]])

    Source: M. Rosenblatt 1952, DOI 10.1214/aoms/1177729394.
    """
    if isinstance(density, Tabulated):
        return density.cumulative(x)
    tables = cast("list[Tabulated]", list(density.components))
    each = torch.stack([table.log_densities(x) for table in tables], -1)
    # The components' weights given the coordinates before this one.
    log_weights = density.log_weights().to(x)[:, None] + each.cumsum(1) - each
    below = torch.stack([table.cumulative(x) for table in tables], -1)
    return (log_weights.softmax(-1) * below).sum(-1)


@torch.no_grad()
def quantile(density: Tabulated | Mixture, share: Tensor) -> Tensor:
    """The inverse of `cumulative`, without a gradient for mixtures. share: (n, D) in [0, 1] → (n, D)."""
    if isinstance(density, Tabulated):
        return density.quantile(share)
    tables = cast("list[Tabulated]", list(density.components))
    # In float64: between two peaks of a mixture the cumulative probability hardly changes.
    wide = share.double()
    log_weights = density.log_weights().to(wide).expand(len(wide), -1)
    ends = torch.stack([table.quantile(wide) for table in tables], -1)
    columns = []
    for i, column in enumerate(wide.unbind(1)):
        margins = [table.marginal(i) for table in tables]
        weights = log_weights.softmax(-1)
        x = _root(margins, weights, column, ends[:, i].amin(-1), ends[:, i].amax(-1))
        log_weights = log_weights + torch.cat([margin.log_densities(x[:, None]) for margin in margins], 1)
        columns.append(x)
    return torch.stack(columns, 1).to(share)


def _root(margins: list[Tabulated], weights: Tensor, share: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where the weighted sum of cumulative distributions is `share`: (n,), between the components' own quantiles."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if not bool(((middle > low) & (middle < high)).any()):
            break
        below = torch.cat([margin.cumulative(middle[:, None]) for margin in margins], 1)
        is_below = (weights * below).sum(1) < share
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return 0.5 * (low + high)
