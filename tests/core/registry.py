"""Every bijection, density and target of `boltzflow.core`: a new part is one line here and gets every check."""

from __future__ import annotations

from collections.abc import Callable

import torch

from boltzflow.core import Bijection, Domain, Inverse, layers, nets
from boltzflow.core.distributions import Distribution, Independent

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


BIJECTIONS: dict[str, Callable[[], Bijection]] = {
    "spline coupling": lambda: _coupling(bins=5),
    "spline coupling, complement": lambda: _coupling(mask=[not m for m in HALF], bins=3),
    "spline coupling, informed": lambda: _coupling(location=LOCATION, width=WIDTH),
    "spline coupling, seams moved": lambda: _coupling(seam=torch.tensor([1.0, -2.0, 0.3])),
    "spline coupling, context": lambda: _coupling(context_size=3),
    "spline coupling, residual net": lambda: layers.SplineCoupling(
        MIXED, HALF, trunk=lambda n: nets.ResidualNet(n, 16, blocks=1)
    ),
    "spline coupling on intervals": lambda: layers.SplineCoupling(Domain.interval(2.0, 3.0, 3), [True, False, True]),
    "circular shift": lambda: layers.CircularShift(MIXED, torch.tensor([1.0, -2.0, 0.3])),
    "circular shift, trainable": lambda: layers.CircularShift(MIXED, torch.zeros(3), trainable=True),
    "inverse of a spline coupling": lambda: Inverse(_coupling(bins=5)),  # type: ignore[dict-item]
}

DENSITIES: dict[str, Callable[[], Distribution]] = {
    "normal": lambda: Independent(Domain.real(2), torch.tensor([0.5, -1.0]), torch.tensor([0.7, 1.3])),
    "uniform": lambda: Independent(Domain.interval(-1.0, 2.0) + Domain.circle(1)),
    "truncated normal": lambda: Independent(Domain.interval(-1.0, 2.0), torch.tensor([1.5]), torch.tensor([0.8])),
    "narrow truncated normal": lambda: Independent(
        Domain.interval(0.0, 1.0), torch.tensor([0.4]), torch.tensor([0.01])
    ),
    "von Mises": lambda: Independent(Domain.circle(1, 0.0, 5.0), torch.tensor([4.0]), torch.tensor([0.6])),
    "wide von Mises": lambda: Independent(Domain.circle(1), torch.tensor([1.0]), torch.tensor([40.0])),
    "mixed": lambda: Independent(
        Domain.real(1) + Domain.circle(1) + Domain.interval(0.0, 1.0),
        torch.tensor([0.0, 2.0, 0.2]),
        torch.tensor([1.0, 1.0, 0.3]),
    ),
}
