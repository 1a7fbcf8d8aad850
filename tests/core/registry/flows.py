"""Ready-made flows: from a seed to the flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from boltzflow.core import Domain, Flow, nets, recipes

MIXED = Domain.real(2) + Domain.circle(3) + Domain.interval(0.1, 0.7) + Domain.interval(-2.0, -0.8)
LOCATION = torch.tensor([0.5, 0.0, 0.0, 1.0, -1.0, 0.3, -1.0])
WIDTH = torch.tensor([1.0, 2.0, torch.inf, 1.0, torch.inf, 0.05, torch.inf])


@dataclass(frozen=True)
class FlowCase:
    """How to make a flow of a seed, and the size of the context that it takes."""

    make: Callable[[int], Flow]
    context_size: int = 0


def _glow(seed: int, context_size: int = 0) -> Flow:
    return recipes.glow(
        Domain.real((1, 4, 4)),
        levels=2,
        blocks=1,
        net=lambda inputs, outputs: nets.ConvNet(inputs, (4,), outputs, kernels=(3, 1)),
        context_size=context_size,
        seed=seed,
    )


FLOWS: dict[str, FlowCase] = {
    "spline flow": FlowCase(lambda seed: recipes.spline_flow(MIXED, layers=2, hidden=(8,), seed=seed)),
    "spline flow, informed": FlowCase(
        lambda seed: recipes.spline_flow(MIXED, layers=2, hidden=(8,), location=LOCATION, width=WIDTH, seed=seed)
    ),
    "spline flow, context": FlowCase(
        lambda seed: recipes.spline_flow(MIXED, layers=2, hidden=(8,), context_size=2, seed=seed), 2
    ),
    "autoregressive spline flow": FlowCase(
        lambda seed: recipes.autoregressive_spline_flow(MIXED, layers=2, hidden=(8,), seed=seed)
    ),
    "maf": FlowCase(lambda seed: recipes.maf(Domain.real(3), layers=2, hidden=(8,), seed=seed)),
    "realnvp": FlowCase(lambda seed: recipes.realnvp(Domain.real(3), layers=2, hidden=(8,), seed=seed)),
    "nice": FlowCase(lambda seed: recipes.realnvp(Domain.real(3), layers=2, hidden=(8,), scale="additive", seed=seed)),
    "glow": FlowCase(_glow),
    "glow, context": FlowCase(lambda seed: _glow(seed, context_size=2), 2),
}
