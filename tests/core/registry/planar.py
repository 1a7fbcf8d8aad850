"""Planar and radial layers, and continuous flows."""

from __future__ import annotations

import torch

from boltzflow.core import Domain, layers
from tests.core.registry.case import Case


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
}
