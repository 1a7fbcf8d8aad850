"""Double wells, one and many."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from boltzflow.core.distributions.targets.target import ExactTarget, PlaneTarget
from boltzflow.core.domain import Domain
from boltzflow.errors import OptionError


class DoubleWell(PlaneTarget):
    """exp(−U) with U(x, y) = l·x + q·x² + r·x⁴ + ½k·y²: two wells in x, one in y.

    Written as (a/4)x⁴ − (b/2)x² + cx + (d/2)y², it has a = 4r, b = −2q, c = l, d = k; the defaults are a = 1, b = 6,
    c = 1, d = 1 (Noé et al. 2019, DOI 10.1126/science.aaw1147; Wu et al. 2020, arXiv 2002.06707).
    Ignores `context`.

    Args:
        linear: l.
        quadratic: q, negative.
        quartic: r, positive.
        stiffness: k, positive.

    Raises:
        OptionError: if the potential does not have two wells.

    >>> target = DoubleWell()
    >>> [round(x, 4) for x in target.minima]
    [-2.5289, 2.3615]
    >>> target.sample(5)[0].shape
    torch.Size([5, 2])
    """

    def __init__(
        self, linear: float = 1.0, quadratic: float = -3.0, quartic: float = 0.25, stiffness: float = 1.0
    ) -> None:
        if not (quartic > 0.0 and stiffness > 0.0 and -8.0 * quadratic**3 > 27.0 * quartic * linear**2):
            raise OptionError(
                f"DoubleWell: expected two wells; got U = {linear:g}·x + {quadratic:g}·x² + {quartic:g}·x⁴ + "
                f"{stiffness / 2:g}·y²."
            )
        minima = _minima(linear, quadratic, quartic)
        depth = min(linear * x + quadratic * x**2 + quartic * x**4 for x in minima)
        reach = max(map(abs, minima))
        while min(s * linear * reach + quadratic * reach**2 + quartic * reach**4 for s in (-1, 1)) < depth + 45.0:
            reach *= 1.1
        high = math.sqrt(90.0 / stiffness)
        super().__init__((-reach, reach), (-high, high))
        self.linear, self.quadratic, self.quartic, self.stiffness = linear, quadratic, quartic, stiffness
        self.minima = minima

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "DoubleWell")
        a, b = x.unbind(1)
        square = a.square()
        return (
            -(self.linear * a + square * (self.quadratic + self.quartic * square)) - 0.5 * self.stiffness * b.square()
        )


class ManyWell(ExactTarget):
    """D/2 independent double wells with U = −0.5x − 6x² + x⁴ + ½y² each, so 2^(D/2) modes.

    Even coordinates are the wells' x, odd ones their y; log Z is D/2 times 10.29347 (Midgley et al. 2023,
    arXiv 2208.01893). Ignores `context`.

    Args:
        size: D, even.

    Raises:
        OptionError: if D is odd.

    >>> target = ManyWell(6)
    >>> target.sample(5)[0].shape, round(target.log_z, 4), len(target.modes())
    (torch.Size([5, 6]), 30.8804, 8)
    """

    def __init__(self, size: int = 32) -> None:
        if size < 2 or size % 2:
            raise OptionError(f"ManyWell: expected an even number of coordinates; got {size}.")
        super().__init__(Domain.real(size))
        self.pair = DoubleWell(linear=-0.5, quadratic=-6.0, quartic=1.0)

    @cached_property
    def log_z(self) -> float:
        """log ∫ exp(log_prob): that of a pair, D/2 times."""
        return len(self.domain) // 2 * self.pair.log_z

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "ManyWell")
        return self.pair.log_prob(x.reshape(-1, 2)).view(len(x), x.shape[1] // 2).sum(1)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, _ = self.pair.sample(n * len(self.domain) // 2, generator=generator)
        x = x.view(n, len(self.domain))
        return x, self.log_prob(x)

    def modes(self) -> Tensor:
        """All minima of U (2^(D/2), D), to test whether a flow covers them.

        Raises:
            OptionError: if D is above 40.
        """
        pairs = len(self.domain) // 2
        if pairs > 20:
            raise OptionError(f"ManyWell: expected at most 40 coordinates to list 2^(D/2) modes; got {2 * pairs}.")
        wells = self.like.new_tensor(self.pair.minima)
        choice = torch.cartesian_prod(*[wells] * pairs).view(-1, pairs)
        return torch.stack([choice, torch.zeros_like(choice)], 2).flatten(1)


def _minima(linear: float, quadratic: float, quartic: float) -> tuple[float, float]:
    """The outer roots of U′ = l + 2qx + 4rx³, which has three real ones (Viète's formula)."""
    p, q = quadratic / (2.0 * quartic), linear / (4.0 * quartic)  # x³ + px + q
    radius = 2.0 * math.sqrt(-p / 3.0)
    angle = math.acos(max(-1.0, min(1.0, 3.0 * q / (p * radius)))) / 3.0
    roots = sorted(radius * math.cos(angle - 2.0 * math.pi * k / 3.0) for k in range(3))
    return roots[0], roots[2]
