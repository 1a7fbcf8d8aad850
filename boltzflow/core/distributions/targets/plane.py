"""Targets in the plane that test whether a flow finds modes, bends and gaps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from boltzflow.core.distributions.targets.target import PlaneTarget
from boltzflow.errors import OptionError


def _bell(x: Tensor, width: float) -> Tensor:
    return -0.5 * (x / width).square()


class TwoMoons(PlaneTarget):
    """Two facing crescents: a ring times two vertical bands (U₁ of Rezende & Mohamed 2015).

    log p = −½((‖z‖ − R)/2s)² + log[exp(−½((x − R)/3s)²) + exp(−½((x + R)/3s)²)], arXiv 1505.05770.
    At R = 2 and s = 0.1 the integral is 2.235. Ignores `context`.

    Args:
        radius: R.
        scale: s.

    >>> target = TwoMoons()
    >>> x, log_prob = target.sample(5)
    >>> round(target.log_z, 3)
    0.804
    """

    def __init__(self, radius: float = 2.0, scale: float = 0.1) -> None:
        reach = radius + 20.0 * scale
        super().__init__((-reach, reach), (-reach, reach))
        self.radius, self.scale = radius, scale

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "TwoMoons")
        ring = _bell(x.norm(dim=1) - self.radius, 2 * self.scale)
        right, left = (_bell(x[:, 0] - at, 3 * self.scale) for at in (self.radius, -self.radius))
        return ring + torch.logaddexp(right, left)


class RingMixture(PlaneTarget):
    """Concentric rings at radii 2/n, 4/n, …, 2, each of width 1/4n in the radius. The integral of two is 5.91.

    Ignores `context`.

    Args:
        rings: n.

    >>> round(RingMixture().log_z, 3)
    1.776
    """

    def __init__(self, rings: int = 2) -> None:
        if rings < 1:
            raise OptionError(f"RingMixture: expected at least one ring; got {rings}.")
        width = 1.0 / (4 * rings)
        reach = 2.0 + 10.0 * width
        super().__init__((-reach, reach), (-reach, reach))
        self.rings, self.width = rings, width

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "RingMixture")
        radius = x.norm(dim=1)
        each = [_bell(radius - 2.0 * (i + 1) / self.rings, self.width) for i in range(self.rings)]
        return torch.stack(each).logsumexp(0)


class Sinusoidal(PlaneTarget):
    """A sine wave of given width, which may have a second branch beside it (U₂, U₃, U₄ of Rezende & Mohamed 2015).

    One branch lies at y = sin(2πx/period); the second, if there is one, below it by 3·exp(−½((x − 1)/0.6)²)
    for a ``"gap"``, or by 3/(1 + exp(−(x − 1)/0.3)) for a ``"split"``. The envelope exp(−½(‖z‖₄/20s)⁴) ends the
    wave. arXiv 1505.05770. Ignores `context`.

    Args:
        scale: s, the width of the branches.
        period: the period of the wave.
        branch: ``"gap"``, ``"split"``, or None for one branch.

    Raises:
        OptionError: if the branch is unknown.

    >>> Sinusoidal(branch="split").sample(5)[0].shape
    torch.Size([5, 2])
    """

    def __init__(self, scale: float = 0.4, period: float = 4.0, branch: Literal["gap", "split"] | None = None) -> None:
        if branch not in (None, "gap", "split"):
            raise OptionError(f"Sinusoidal: expected branch 'gap', 'split' or None; got {branch!r}.")
        reach = 20.0 * scale * 90.0**0.25  # where the envelope is exp(−45)
        lowest = -1.0 - 10.0 * scale - (3.0 if branch else 0.0)
        super().__init__((-reach, reach), (lowest, 1.0 + 10.0 * scale))
        self.scale, self.period, self.branch = scale, period, branch

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Sinusoidal")
        offset = x[:, 1] - (2.0 * math.pi / self.period * x[:, 0]).sin()
        log_prob = _bell(offset, self.scale)
        if self.branch:
            below = (
                3.0 * _bell(x[:, 0] - 1.0, 0.6).exp()
                if self.branch == "gap"
                else 3.0 * ((x[:, 0] - 1.0) / 0.3).sigmoid()
            )
            log_prob = torch.logaddexp(log_prob, _bell(offset + below, self.scale))
        return log_prob - 0.5 * (x / (20.0 * self.scale)).pow(4).sum(1)


class Smiley(PlaneTarget):
    """A smiling face: a ring of radius 2 times two horizontal bands at y = 0.4 and y = −2.

    log p = −½((‖z‖ − 2)/2s)² − ½((|y + 0.8| − 1.2)/2s)². Ignores `context`.

    Args:
        scale: s.

    >>> Smiley().sample(5)[0].shape
    torch.Size([5, 2])
    """

    def __init__(self, scale: float = 0.15) -> None:
        reach = 2.0 + 20.0 * scale
        # The middle of the box in y is −0.8, so that the kink there is an edge of quadrature panels.
        super().__init__((-reach, reach), (-0.8 - reach, -0.8 + reach))
        self.scale = scale

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Smiley")
        ring = _bell(x.norm(dim=1) - 2.0, 2 * self.scale)
        return ring + _bell((x[:, 1] + 0.8).abs() - 1.2, 2 * self.scale)


class MullerBrown(PlaneTarget):
    """The surface of Müller & Brown (1979, DOI 10.1007/BF00547608): three basins along a bent valley.

    log p = −β·U(x, y), with U in its own units, between −146.7 and the barrier at −40.7 in the region of interest.

    Ignores `context`.

    Args:
        beta: inverse temperature, at least 0.03; at lower values the density extends beyond the quadrature box.

    Raises:
        OptionError: if β is smaller.

    >>> x = torch.tensor([[-0.558223634, 1.441725842]])  # the deepest minimum
    >>> (-MullerBrown(beta=0.1).log_prob(x) / 0.1).round(decimals=2)
    tensor([-146.7000])
    """

    # Height, then the coefficients of (x − x₀)², (x − x₀)(y − y₀), (y − y₀)², then x₀ and y₀.
    _WELLS = (
        (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
        (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
        (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
        (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
    )

    def __init__(self, beta: float = 0.1) -> None:
        if not beta >= 0.03:
            raise OptionError(f"MullerBrown: expected beta of at least 0.03; got {beta:g}.")
        super().__init__((-4.0, 2.0), (-2.0, 4.0))
        self.beta = beta

    def energy(self, x: Tensor) -> Tensor:
        """U (batch,) at x (batch, 2)."""
        self.domain.check(x, "MullerBrown")
        terms = []
        for height, a, b, c, x0, y0 in self._WELLS:
            dx, dy = x[:, 0] - x0, x[:, 1] - y0
            terms.append(height * (a * dx.square() + b * dx * dy + c * dy.square()).exp())
        return torch.stack(terms).sum(0)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -self.beta * self.energy(x)
