"""The map of mixtures of tables to the unit cube: its determinant is the density, its inverse leads back."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from boltzflow.core import Domain
from boltzflow.core.distributions import DiagonalNormal, Mixture, Tabulated, cumulative, has_quantiles, quantile

DOMAIN = Domain.interval(0.0, 2.0) + Domain.circle(1) + Domain.interval(-1.0, 1.0)


def tables(seed: int, sharpness: float) -> Tabulated:
    """Random densities; sharp ones vary by e^sharpness from knot to knot."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.linspace(0.0, 1.0, 9)
    low, high = DOMAIN.lows(steps)[:, None], DOMAIN.highs(steps)[:, None]
    values = (sharpness * torch.randn(3, 9, generator=random)).exp()
    values[1, -1] = values[1, 0]  # a circle
    return Tabulated(DOMAIN, low + (high - low) * steps, values)


@pytest.fixture(params=[(1, 1.0), (2, 1.0), (3, 3.0)], ids=str)
def density(request: pytest.FixtureRequest) -> Tabulated | Mixture:
    count, sharpness = request.param
    parts = [tables(k, sharpness) for k in range(count)]
    return parts[0] if count == 1 else Mixture(parts, torch.arange(1.0, count + 1))


def test_the_determinant_is_the_density(density: Tabulated | Mixture) -> None:
    x = density.sample(50, generator=torch.Generator().manual_seed(0))[0].double()

    def share(row: Tensor) -> Tensor:
        return cumulative(density, row[None])[0]

    jacobians = torch.stack([torch.autograd.functional.jacobian(share, row) for row in x])
    assert not torch.triu(jacobians, 1).any()  # a coordinate depends on those before it alone
    log_det = jacobians.diagonal(dim1=1, dim2=2).log().sum(1)
    torch.testing.assert_close(log_det, density.log_prob(x), atol=1e-5, rtol=1e-5)


def test_samples_are_uniform_and_independent_in_the_cube(density: Tabulated | Mixture) -> None:
    x, _ = density.sample(4000, generator=torch.Generator().manual_seed(1))
    share = cumulative(density, x)
    for column in share.T:
        assert kstest(column.double().numpy(), "uniform").pvalue > 1e-3
    correlations = torch.corrcoef(share.T) - torch.eye(3)
    assert float(correlations.abs().max()) < 5 / 4000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_inverse_leads_back(density: Tabulated | Mixture, dtype: torch.dtype) -> None:
    share = torch.rand(200, 3, dtype=dtype, generator=torch.Generator().manual_seed(2))
    x = quantile(density, share)
    assert x.dtype == dtype
    assert bool(density.domain.contains(x).all())
    torch.testing.assert_close(cumulative(density, x), share, atol=1e-5, rtol=0.0)


def test_edges_of_the_cube_are_edges_of_the_domain(density: Tabulated | Mixture) -> None:
    ends = quantile(density, torch.tensor([[0.0] * 3, [1.0] * 3]))
    expected = torch.stack([DOMAIN.lows(ends), DOMAIN.highs(ends)])
    torch.testing.assert_close(ends, expected, atol=1e-6, rtol=0.0)


def test_only_tables_have_quantiles() -> None:
    normal = DiagonalNormal(Domain.real(3))
    assert has_quantiles(tables(0, 1.0))
    assert has_quantiles(Mixture([tables(0, 1.0), tables(1, 1.0)]))
    assert not has_quantiles(normal)
    assert not has_quantiles(Mixture([normal, normal]))
