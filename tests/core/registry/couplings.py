"""Couplings, autoregressive layers and circular shifts."""

from __future__ import annotations

import torch

from boltzflow.core import Domain, Inverse, layers, nets, transformers
from boltzflow.core.functional import alternating_mask, half_mask
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


# An autoregressive layer unrolls its net once a coordinate: one of each kind, and circles of two circumferences.
FEW = [1, 3, 4, 5]


def _coupling(**options: object) -> layers.SplineCoupling:
    mask = options.pop("mask", HALF)
    return layers.SplineCoupling(MIXED, mask, conditioner=lambda n: nets.MLP(n, (16,)), **options)  # type: ignore[arg-type]


def _autoregressive(**options: object) -> layers.Autoregressive:
    transformer = transformers.RationalQuadratic(MIXED[FEW], bins=4, location=LOCATION[FEW], width=WIDTH[FEW])
    return layers.Autoregressive(transformer, **{"hidden": (12,)} | options)  # type: ignore[arg-type]


def _affine(scale: transformers.Scale, context_size: int = 0) -> layers.AffineCoupling:
    return layers.AffineCoupling(
        Domain.real(4),
        alternating_mask(4),
        scale=scale,
        conditioner=lambda n: nets.MLP(n, (16,)),
        context_size=context_size,
    )


BIJECTIONS: dict[str, Case] = {
    "spline coupling": Case(lambda: _coupling(bins=5)),
    "spline coupling, complement": Case(lambda: _coupling(mask=[not m for m in HALF], bins=3)),
    "spline coupling, informed": Case(lambda: _coupling(location=LOCATION, width=WIDTH)),
    "spline coupling, seams moved": Case(lambda: _coupling(seam=torch.tensor([1.0, -2.0, 0.3]))),
    "spline coupling, shown a part": Case(lambda: _coupling(given=[False, True, False, False, False, False, True])),
    "spline coupling, two harmonics": Case(lambda: _coupling(harmonics=2)),
    "spline coupling, affine lines and intervals": Case(
        lambda: _coupling(location=LOCATION, width=WIDTH, affine=[0, 1, 4, 6])
    ),
    "spline coupling, affine alone": Case(
        lambda: _coupling(mask=[i in (1, 6) for i in range(7)], affine=[1, 4, 6], context_size=3), context_size=3
    ),
    "spline coupling, context": Case(lambda: _coupling(context_size=3), context_size=3),
    "spline coupling, residual net": Case(
        lambda: layers.SplineCoupling(MIXED, HALF, conditioner=lambda n: nets.ResidualNet(n, 16, blocks=1))
    ),
    "spline coupling, gated net": Case(
        lambda: layers.SplineCoupling(MIXED, HALF, conditioner=lambda n: nets.ResidualNet(n, 16, blocks=1, gated=True))
    ),
    "spline coupling on intervals": Case(
        lambda: layers.SplineCoupling(Domain.interval(2.0, 3.0, 3), [True, False, True])
    ),
    "affine coupling": Case(lambda: _affine("exp")),
    "affine coupling, context": Case(lambda: _affine("exp", context_size=3), context_size=3),
    "additive coupling": Case(lambda: _affine("additive")),
    "affine coupling, sigmoid": Case(lambda: _affine("sigmoid")),
    "affine coupling, inverse sigmoid": Case(lambda: _affine("inverse_sigmoid")),
    "affine coupling, circles are shifted": Case(
        lambda: layers.AffineCoupling(MIXED[:4], half_mask(4), conditioner=lambda n: nets.MLP(n, (16,)))
    ),
    "autoregressive spline": Case(lambda: _autoregressive()),
    "autoregressive spline, context": Case(lambda: _autoregressive(context_size=3), context_size=3),
    "autoregressive spline, residual net": Case(lambda: _autoregressive(hidden=(12, 12, 12), residual=True)),
    "autoregressive spline, another order": Case(lambda: _autoregressive(order=[2, 1, 3, 0])),
    "autoregressive spline, two passes": Case(lambda: _autoregressive(passes=2, order=[2, 1, 3, 0])),
    "autoregressive affine": Case(
        lambda: layers.Autoregressive(transformers.Affine(Domain.real(4), "sigmoid"), hidden=(9, 7))
    ),
    "autoregressive affine, context": Case(
        lambda: layers.Autoregressive(transformers.Affine(Domain.real(4)), hidden=(9, 7), context_size=3),
        context_size=3,
    ),
    "inverse of an autoregressive affine": Case(
        lambda: Inverse(layers.Autoregressive(transformers.Affine(Domain.real(4)), hidden=(12,)))
    ),
    "circular shift": Case(lambda: layers.CircularShift(MIXED, torch.tensor([1.0, -2.0, 0.3]))),
    "circular shift, trainable": Case(lambda: layers.CircularShift(MIXED, torch.zeros(3), trainable=True)),
    "inverse of a spline coupling": Case(lambda: Inverse(_coupling(bins=5))),
}
