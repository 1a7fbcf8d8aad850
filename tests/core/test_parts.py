"""The bijections of the registry, each with every check; densities have theirs in test_distributions.py."""

import pytest
import torch

from boltzflow.testing import check_bijection, random_states, randomize_parameters
from tests.core.registry import BIJECTIONS

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
