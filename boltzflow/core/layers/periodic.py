"""Rotations of circles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.errors import ShapeError


class CircularShift(Bijection):
    """Adds a fixed or learned angle to each circle, modulo its circumference; other coordinates are unchanged.

    A spline on a circle maps its seam to itself. A shift before it and the opposite shift after it move the seam.
    Ignores `context`.

    Args:
        domain: flat, of D coordinates.
        shift: (number of circles,), in the domain's units.
        trainable: whether the shift is learned.

    Raises:
        ShapeError: if there is not one shift for each circle.

    >>> layer = CircularShift(Domain.circle(1, 0.0, 1.0), torch.tensor([0.75]))
    >>> layer(torch.tensor([[0.5]]))[0]
    tensor([[0.2500]])
    """

    shift: Tensor
    spread: Tensor

    def __init__(self, domain: Domain, shift: Tensor, trainable: bool = False) -> None:
        super().__init__(domain, domain)
        circles = domain.indices("circle")
        if tuple(shift.shape) != (len(circles),):
            raise ShapeError(f"CircularShift: expected shifts of shape ({len(circles)},); got {tuple(shift.shape)}.")
        spread = torch.zeros(len(circles), len(domain))
        spread[range(len(circles)), circles] = 1.0
        self.register_buffer("spread", spread, persistent=False)
        if trainable:
            self.shift = nn.Parameter(shift.to(spread.dtype, copy=True))
        else:
            self.register_buffer("shift", shift.to(spread.dtype, copy=True))

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.data_domain.wrap(z + self.shift @ self.spread), z.new_zeros(z.shape[0])

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.data_domain.wrap(x - self.shift @ self.spread), x.new_zeros(x.shape[0])
