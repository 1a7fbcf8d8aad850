"""The registry of parts, each with every check."""

from itertools import pairwise

import pytest
import torch

from boltzflow.testing import check_bijection, check_density, random_states, randomize_parameters
from tests.core.registry import BIJECTIONS, DENSITIES

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", BIJECTIONS)
def test_bijection(name: str, dtype: torch.dtype) -> None:
    case = BIJECTIONS[name]
    check_bijection(
        case.make(),
        dtype=dtype,
        context=_context(case.context_size),
        tolerance=case.tolerance if dtype == torch.float64 else None,
    )


@pytest.mark.parametrize("name", [name for name, case in BIJECTIONS.items() if case.compiles])
def test_bijection_compiles_whole(name: str) -> None:
    """One graph for each direction, which gives the same numbers. The backend traces, but builds no machine code."""
    case = BIJECTIONS[name]
    layer, context = case.make(), _context(case.context_size)
    randomize_parameters(layer)
    for run, start in ((layer.forward, layer.latent_domain), (layer.inverse, layer.data_domain)):
        x = random_states(start, 16, dtype=torch.float32, generator=torch.Generator().manual_seed(2))
        torch.compiler.reset()
        whole = torch.compile(run, fullgraph=True, dynamic=False, backend="aot_eager")
        for got, expected in zip(whole(x, context), run(x, context), strict=True):
            torch.testing.assert_close(got, expected)


def _context(size: int) -> torch.Tensor | None:
    return torch.randn(16, size, generator=torch.Generator().manual_seed(1)) if size else None


@pytest.mark.parametrize("name", DENSITIES)
def test_density_integrates_to_one(name: str) -> None:
    density = DENSITIES[name]().double()
    points = {1: 20_001, 2: 1001, 3: 150}[len(density.domain)]
    check_density(density.log_prob, density.domain, points=points)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", DENSITIES)
def test_samples_follow_the_density(name: str, dtype: torch.dtype) -> None:
    """Counts in eight cells of each coordinate against quadrature of the density: z-scores of 200 000 samples."""
    density = DENSITIES[name]().to(dtype)
    n = 200_000
    x, log_p = density.sample(n, generator=torch.Generator().manual_seed(3))
    assert x.dtype == log_p.dtype == dtype
    assert density.domain.contains(x).all()
    for i, c in enumerate(density.domain):
        low, high = (-6.0, 6.0) if c.kind == "real" else (c.low, c.high)
        edges = torch.linspace(low, high, 9, dtype=torch.float64)
        count = torch.histogram(x[:, i].double(), edges).hist
        expected = n * _marginal_masses(density.double(), i, edges)
        sigma = (expected * (1 - expected / n)).clamp(min=1.0).sqrt()
        z = (count - expected) / sigma
        assert z.abs().max() < 4.5, f"coordinate {i}: z-scores {z.tolist()} of {n} samples"


def _marginal_masses(density: torch.nn.Module, i: int, edges: torch.Tensor) -> torch.Tensor:
    """Probabilities of the cells in one coordinate; the coordinates are independent, so the others may stand still."""
    fine = 4000
    masses = []
    for low, high in pairwise(edges):
        t = low + (high - low) * (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
        x = density.domain.middle(t).repeat(fine, 1)
        x[:, i] = t
        masses.append(density.log_prob(x).exp().sum() * (high - low) / fine)
    total = torch.stack(masses)
    low, high = (-60.0, 60.0) if density.domain.coordinates[i].kind == "real" else (edges[0], edges[-1])
    t = torch.linspace(low, high, 400_001, dtype=torch.float64)
    x = density.domain.middle(t).repeat(len(t), 1)
    x[:, i] = t
    return total / torch.trapezoid(density.log_prob(x).exp(), t)
