"""Couplings, autoregressive layers and circular shifts."""

from __future__ import annotations

import torch

from boltzflow.core import Domain, Inverse, layers, nets
from tests.core.registry.case import Case

MIXED = (
    Domain.real(2, names=["x", "y"])
    + Domain.circle(2, names=["phi", "psi"])
    + Domain.interval(0.1, 0.3, names=["bond"])
    + Domain.circle(1, 0.0, 1.0)
    + Domain.interval(-2.0, 5.0)
)
HALF = [True, False, True, False, True, True, False]
LOCATION = torch.tensor([0.5, -0.5, 0.0, 1.0, 0.15, 0.5, 1.0])
WIDTH = torch.tensor([0.7, 1.5, torch.inf, torch.inf, 0.02, torch.inf, 0.5])


def _coupling(**options: object) -> layers.SplineCoupling:
    mask = options.pop("mask", HALF)
    return layers.SplineCoupling(MIXED, mask, trunk=lambda n: nets.MLP(n, (16,)), **options)  # type: ignore[arg-type]


BIJECTIONS: dict[str, Case] = {
    "spline coupling": Case(lambda: _coupling(bins=5)),
    "spline coupling, complement": Case(lambda: _coupling(mask=[not m for m in HALF], bins=3)),
    "spline coupling, informed": Case(lambda: _coupling(location=LOCATION, width=WIDTH)),
    "spline coupling, seams moved": Case(lambda: _coupling(seam=torch.tensor([1.0, -2.0, 0.3]))),
    "spline coupling, context": Case(lambda: _coupling(context_size=3), context_size=3),
    "spline coupling, residual net": Case(
        lambda: layers.SplineCoupling(MIXED, HALF, trunk=lambda n: nets.ResidualNet(n, 16, blocks=1))
    ),
    "spline coupling on intervals": Case(
        lambda: layers.SplineCoupling(Domain.interval(2.0, 3.0, 3), [True, False, True])
    ),
    "circular shift": Case(lambda: layers.CircularShift(MIXED, torch.tensor([1.0, -2.0, 0.3]))),
    "circular shift, trainable": Case(lambda: layers.CircularShift(MIXED, torch.zeros(3), trainable=True)),
    "inverse of a spline coupling": Case(lambda: Inverse(_coupling(bins=5))),
}
