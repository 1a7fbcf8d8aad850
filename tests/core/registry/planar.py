"""Planar and radial layers, couplings of monotone families that are inverted numerically, continuous flows."""

from __future__ import annotations

import torch

from boltzflow.core import Domain, layers, nets, transformers
from tests.core.registry.case import Case

MIXED = Domain.real(1) + Domain.circle(1) + Domain.interval(0.1, 0.3) + Domain.circle(1, 0.0, 1.0)


def _coupling(transformer: transformers.Transformer, context_size: int = 0) -> layers.Coupling:
    mask = [True, True, True, False][: len(transformer.domain)]
    mask[-1] = False
    return layers.Coupling(transformer, mask, conditioner=lambda n: nets.MLP(n, (8,)), context_size=context_size)


def _autoregressive(transformer: transformers.Transformer, context_size: int = 0) -> layers.Autoregressive:
    return layers.Autoregressive(transformer, hidden=(12,), context_size=context_size)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


BIJECTIONS: dict[str, Case] = {
    "planar": Case(lambda: layers.Planar(Domain.real(3), generator=_seeded())),
    "planar, leaky ReLU": Case(lambda: layers.Planar(Domain.real(3), "leaky_relu", generator=_seeded())),
    "planar, context": Case(lambda: layers.Planar(Domain.real(3), context_size=2, generator=_seeded()), context_size=2),
    "planar on an array": Case(lambda: layers.Planar(Domain.real((2, 2, 2)), "leaky_relu", generator=_seeded())),
    "radial": Case(lambda: layers.Radial(Domain.real(3), generator=_seeded())),
    "radial, one coordinate": Case(lambda: layers.Radial(Domain.real(1), generator=_seeded())),
    "radial, context": Case(lambda: layers.Radial(Domain.real(3), context_size=2, generator=_seeded()), context_size=2),
    "Bernstein coupling": Case(lambda: _coupling(transformers.Bernstein(MIXED, degree=6))),
    "Bernstein autoregressive, context": Case(
        lambda: _autoregressive(transformers.Bernstein(MIXED, degree=6), 2), context_size=2, compiles=False
    ),
    # Its search compiles, too, but takes long to trace.
    "unconstrained monotonic coupling": Case(
        lambda: _coupling(transformers.UnconstrainedMonotonic(MIXED, units=4)), compiles=False
    ),
    "unconstrained monotonic autoregressive, context": Case(
        lambda: _autoregressive(transformers.UnconstrainedMonotonic(MIXED, units=4), 2), context_size=2, compiles=False
    ),
    "deep sigmoidal coupling, context": Case(
        lambda: _coupling(transformers.DeepSigmoidal(Domain.real(3)), 2), context_size=2
    ),
    "neural autoregressive": Case(
        lambda: _autoregressive(transformers.DeepSigmoidal(Domain.real(3), units=4)), compiles=False
    ),
    # Right to the solver's tolerance of 1e-9, not to rounding; its loop depends on the states.
    "continuous flow, context": Case(
        lambda: layers.ContinuousFlow(
            Domain.real(1) + Domain.circle(1, 0.0, 3.0), conditioner=lambda n: nets.MLP(n, (6,)), context_size=1
        ),
        context_size=1,
        tolerance=1e-7,
        compiles=False,
    ),
}
