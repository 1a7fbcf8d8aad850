"""Normalised densities with exact samples, of one to three coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from boltzflow.core import Domain, nets
from boltzflow.core.distributions import (
    ConditionalNormal,
    DiagonalNormal,
    Distribution,
    FullNormal,
    GaussianMixture,
    GlowNormal,
    ImageDensity,
    Independent,
    Mixture,
    PCANormal,
    Product,
    Resampled,
    Tabulated,
    targets,
)

LINE, PLANE, CIRCLE = Domain.real(1), Domain.real(2), Domain.circle(1)
CYLINDER = LINE + CIRCLE
MODES = torch.tensor([[-2.0, 0.5], [1.0, 1.0], [0.5, -2.0]])
IMAGE = torch.tensor([[0.0, 1.0, 2.0, 0.5], [3.0, 1.0, 0.2, 0.0], [1.0, 1.0, 0.0, 4.0]])
COVARIANCE = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.5, -0.3], [0.0, -0.3, 0.4]])


@dataclass(frozen=True)
class Case:
    """How to make a density, and what its checks need to know.

    Attributes:
        make: builds it.
        context_size: size of the context that it takes; 0 for none.
        tolerance: of the integral over the density. It is that of the quadrature in the checks, for densities with
            jumps, kinks or sharp bends, and that of the normalisation for those which estimate it.
        compiles: whether `log_prob` compiles without graph breaks.
    """

    make: Callable[[], Distribution]
    context_size: int = 0
    tolerance: float = 1e-5
    compiles: bool = True


def _peaks(**options: object) -> Mixture:
    peaks = [Independent(CIRCLE, torch.tensor([at]), torch.tensor([0.5]), trainable=True) for at in (-1.0, 3.0)]
    return Mixture(peaks, torch.tensor([3.0, 1.0]), **options)  # type: ignore[arg-type]


def _resampled(domain: Domain, truncation: int) -> Resampled:
    net = torch.nn.Sequential(nets.DomainFeatures(domain), nets.MLP(domain.feature_size, (8,), 1))
    return Resampled(Independent(domain), net, truncation=truncation)


DENSITIES: dict[str, Case] = {
    "independent normal": Case(lambda: Independent(PLANE, torch.tensor([0.5, -1.0]), torch.tensor([0.7, 1.3]))),
    "uniform": Case(lambda: Independent(Domain.interval(-1.0, 2.0) + CIRCLE)),
    "truncated normal": Case(lambda: Independent(Domain.interval(-1.0, 2.0), torch.tensor([1.5]), torch.tensor([0.8]))),
    "narrow truncated normal": Case(
        lambda: Independent(Domain.interval(0.0, 1.0), torch.tensor([0.4]), torch.tensor([0.01]))
    ),
    "von Mises": Case(lambda: Independent(Domain.circle(1, 0.0, 5.0), torch.tensor([4.0]), torch.tensor([0.6]))),
    "wide von Mises": Case(lambda: Independent(CIRCLE, torch.tensor([1.0]), torch.tensor([40.0]))),
    "mixed": Case(
        lambda: Independent(
            CYLINDER + Domain.interval(0.0, 1.0), torch.tensor([0.0, 2.0, 0.2]), torch.tensor([1.0, 1.0, 0.3])
        )
    ),
    "mixed, trainable": Case(lambda: Independent(CYLINDER, width=torch.tensor([1.0, 1.0]), trainable=True)),
    "diagonal normal": Case(lambda: DiagonalNormal(PLANE, torch.tensor([0.5, -1.0]), torch.tensor([0.7, 1.3]))),
    "diagonal normal, trainable": Case(lambda: DiagonalNormal(PLANE, trainable=True)),
    "diagonal normal, context": Case(lambda: DiagonalNormal(PLANE, context_size=3), context_size=3),
    "diagonal normal of images": Case(
        lambda: DiagonalNormal(Domain.real((1, 1, 2)), torch.ones(1, 1, 1), torch.full((2,), 0.5), trainable=True)
    ),
    "diagonal normal at half the temperature": Case(
        lambda: DiagonalNormal(PLANE, torch.tensor([0.5, -1.0]), torch.tensor([0.7, 1.3])).tempered(0.5)
    ),
    "conditional normal": Case(lambda: ConditionalNormal(PLANE, nets.MLP(3, (8,), 4)), context_size=3),
    "Glow base": Case(lambda: GlowNormal(Domain.real((2, 1, 1)))),
    "Glow base, context": Case(lambda: GlowNormal(Domain.real((1, 2)), context_size=4), context_size=4),
    "full normal": Case(lambda: FullNormal(Domain.real(3), torch.tensor([0.5, 0.0, -0.5]), COVARIANCE)),
    "full normal, trainable": Case(lambda: FullNormal(PLANE, trainable=True).tempered(1.2)),
    "full normal, context": Case(lambda: FullNormal(PLANE, context_size=2), context_size=2),
    "principal components": Case(lambda: PCANormal(Domain.real(3), torch.tensor([[1.0], [0.5], [-0.5]]), 0.4)),
    "principal components, trainable": Case(lambda: PCANormal(PLANE, torch.randn(2, 2), 0.5, trainable=True)),
    "principal components, context": Case(lambda: PCANormal(PLANE, torch.ones(2, 1), 0.5, context_size=2), 2),
    "mixture of normals": Case(
        lambda: GaussianMixture(PLANE, MODES, torch.tensor([0.5, 0.8]), torch.tensor([1.0, 2.0, 3.0]))
    ),
    "mixture of normals, trainable": Case(lambda: GaussianMixture(PLANE, MODES, trainable=True)),
    "mixture of normals, context": Case(lambda: GaussianMixture(PLANE, MODES, context_size=2), 2),
    "mixture of von Mises": Case(lambda: _peaks(trainable=True)),
    "mixture, context": Case(lambda: _peaks(context_size=2), 2),
    "mixture of uniforms and truncated normals": Case(
        lambda: Mixture(
            [
                Independent(Domain.interval(0.0, 1.0)),
                Independent(Domain.interval(0.0, 1.0), torch.tensor([0.9]), torch.tensor([0.2])),
            ]
        )
    ),
    "tabulated": Case(
        lambda: Tabulated(
            Domain.interval(-1.0, 2.0) + Domain.circle(1, 0.0, 5.0),
            torch.tensor([[-1.0, -0.2, 0.1, 2.0], [0.0, 2.0, 2.5, 5.0]]),
            torch.tensor([[1.0, 4.0, 0.5, 2.0], [1.0, 1e-3, 3.0, 1.0]]),
        ),
        tolerance=1e-4,  # quadrature across kinks
    ),
    "product": Case(
        lambda: Product([DiagonalNormal(LINE, context_size=2), _peaks(), FullNormal(LINE, trainable=True)]), 2
    ),
    "resampled": Case(lambda: _resampled(PLANE, 100), tolerance=1e-3),
    "resampled, truncated soon": Case(lambda: _resampled(CYLINDER, 3), tolerance=1e-3),
    "image": Case(lambda: ImageDensity(IMAGE, (-1.0, 2.0), (0.0, 1.0)), tolerance=1e-2),
    "smooth image": Case(lambda: ImageDensity(IMAGE, (-1.0, 2.0), (0.0, 1.0), smooth=True), tolerance=1e-2),
    "checkerboard": Case(targets.checkerboard, tolerance=1e-2),
    "circular mixture": Case(targets.circular_mixture),
    "spirals": Case(lambda: targets.spirals(beads=12, width=0.4)),
    "funnel": Case(lambda: targets.Funnel(2, scale=0.5)),
    "pinwheel": Case(targets.Pinwheel, tolerance=1e-4),
    "cylinder": Case(targets.Cylinder),
}
