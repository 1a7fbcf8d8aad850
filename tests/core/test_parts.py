"""The bijections of the registry, each with every check; densities have theirs in test_distributions.py."""

import pytest
import torch

from boltzflow.testing import check_bijection, random_states, randomize_parameters
from tests.core.registry import BIJECTIONS
from tests.core.registry.case import Case

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


def richest_of_each_make(cases: dict[str, Case]) -> set[str]:
    """Of the cases that are made of the same classes, one with a context if there is one: it runs the most code."""
    chosen: dict[frozenset[type], str] = {}
    for name, case in cases.items():
        make = frozenset(type(part) for part in case.make().modules())
        if make not in chosen or case.context_size > cases[chosen[make]].context_size:
            chosen[make] = name
    return set(chosen.values())


COMPILED = {name: case for name, case in BIJECTIONS.items() if case.compiles}
RICHEST = richest_of_each_make(COMPILED)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in RICHEST else pytest.mark.slow) for name in COMPILED]
)
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
