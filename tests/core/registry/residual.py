"""Residual layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core import Domain, Inverse, layers, nets
from tests.core.registry.case import Case


class SineNet(nets.LipschitzNet):
    """A net of a user who defines no more than its value."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return 0.5 * (x + self.shift).roll(1, -1).sin()


def _residual(size: int = 2, **options: object) -> layers.Residual:
    return layers.Residual(Domain.real(size), nets.LipschitzMLP(size, (16, 16), **options))  # type: ignore[arg-type]


def _image(**options: object) -> layers.Residual:
    net = nets.LipschitzCNN((2, 3, 4), (4,), lipschitz=0.9, **options)  # type: ignore[arg-type]
    return layers.Residual(Domain.real((2, 3, 4)), net)


# The search for the fixed point takes as many steps as it needs, which no whole graph can.
BIJECTIONS: dict[str, Case] = {
    "residual, one coordinate": Case(lambda: _residual(1), compiles=False),
    "residual": Case(_residual, compiles=False),
    "residual, context": Case(lambda: _residual(context_size=3), context_size=3, compiles=False),
    "residual, five coordinates": Case(lambda: _residual(5), compiles=False),
    "residual, ELU": Case(lambda: _residual(3, activation=nets.ELU), compiles=False),
    "residual, norm 1": Case(lambda: _residual(3, order=1.0), compiles=False),
    "residual, norm ∞": Case(lambda: _residual(3, order=math.inf), compiles=False),
    "residual, learned norms": Case(lambda: _residual(3, order="learned"), compiles=False),
    "residual, one layer": Case(lambda: layers.Residual(Domain.real(2), nets.LipschitzMLP(2, ())), compiles=False),
    "residual on positions": Case(
        lambda: layers.Residual(Domain.real((2, 3)), nets.LipschitzMLP(6, (16,))), compiles=False
    ),
    "residual on images": Case(_image, compiles=False),
    "residual on images, context": Case(lambda: _image(context_size=2), context_size=2, compiles=False),
    "residual on images, learned norms": Case(lambda: _image(order="learned"), compiles=False),
    "residual, net of a user": Case(lambda: layers.Residual(Domain.real(3), SineNet(3)), compiles=False),
    "residual, recomputed": Case(
        lambda: layers.Residual(Domain.real(2), nets.LipschitzMLP(2, (16,)), checkpoint=True), compiles=False
    ),
    "residual, estimator out of training": Case(
        lambda: layers.Residual(Domain.real(3), nets.LipschitzMLP(3, (16,)), estimator=layers.LogDetEstimator()).eval(),
        compiles=False,
    ),
    "inverse of a residual": Case(lambda: Inverse(_residual()), compiles=False),
}
