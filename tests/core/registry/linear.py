"""Linear, element-wise, normalisation and reshaping layers, and blocks for images."""

from __future__ import annotations

from boltzflow.core import Domain, layers
from tests.core.registry.case import Case

FLAT = Domain.real(5)
IMAGE = Domain.real((3, 2, 4))
MIXED = Domain.real(1) + Domain.circle(1, 0.0, 1.0) + Domain.interval(-2.0, 5.0) + Domain.circle(1)

BIJECTIONS: dict[str, Case] = {
    "permutation, reverse": Case(lambda: layers.Permutation(MIXED, "reverse")),
    "permutation, shuffle": Case(lambda: layers.Permutation(Domain.real(2) + MIXED)),
    "permutation of channels": Case(lambda: layers.Permutation(IMAGE, [2, 0, 1])),
    "LU linear": Case(lambda: layers.LULinear(FLAT)),
    "LU linear, context": Case(lambda: layers.LULinear(FLAT, context_size=3), context_size=3),
    "invertible linear": Case(lambda: layers.InvertibleLinear(FLAT)),
    "invertible linear, context": Case(lambda: layers.InvertibleLinear(FLAT, context_size=3), context_size=3),
    "Householder": Case(lambda: layers.Householder(FLAT, reflections=3)),
    "Householder, context": Case(lambda: layers.Householder(FLAT, reflections=2, context_size=3), context_size=3),
    "1x1 convolution": Case(lambda: layers.Invertible1x1Conv(IMAGE, lu=False)),
    "1x1 convolution, LU": Case(lambda: layers.Invertible1x1Conv(IMAGE)),
    "1x1 convolution, context": Case(lambda: layers.Invertible1x1Conv(IMAGE, lu=False, context_size=3), context_size=3),
    "1x1 convolution, LU, context": Case(lambda: layers.Invertible1x1Conv(IMAGE, context_size=3), context_size=3),
}
