"""Targets that are normalised densities: mixtures, the funnel, the pinwheel, the cylinder."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.distributions.image import ImageDensity
from boltzflow.core.distributions.independent import Independent
from boltzflow.core.distributions.mixture import GaussianMixture
from boltzflow.core.distributions.normal import LOG_SQRT_2PI
from boltzflow.core.domain import Domain
from boltzflow.errors import OptionError


def circular_mixture(modes: int = 8) -> GaussianMixture:
    """Equal normal densities on a circle of radius 2, of width ⅔·sin(π/modes).

    Args:
        modes: the number of modes.

    >>> circular_mixture().sample(5)[0].shape
    torch.Size([5, 2])
    """
    angle = 2.0 * math.pi / modes * torch.arange(modes)
    locations = 2.0 * torch.stack([angle.sin(), angle.cos()], 1)
    return GaussianMixture(Domain.real(2), locations, torch.tensor(2.0 / 3.0 * math.sin(math.pi / modes)))


def forty_modes(*, modes: int = 40, reach: float = 40.0, seed: int = 0) -> GaussianMixture:
    """Equal normal densities of width log(1 + e) at random locations in [−reach, reach]².

    With the defaults it is the target of Midgley et al. 2023 (arXiv 2208.01893), whose locations also come from seed 0.

    Args:
        modes: the number of modes.
        reach: half the side of the square.
        seed: the random seed of the locations.

    >>> forty_modes().sample(5)[0].shape
    torch.Size([5, 2])
    """
    places = torch.rand(modes, 2, generator=torch.Generator().manual_seed(seed))
    width = torch.tensor(math.log1p(math.e))
    return GaussianMixture(Domain.real(2), (places - 0.5) * 2.0 * reach, width)


def spirals(*, arms: int = 2, width: float = 0.1, turns: float = 1.5, beads: int = 200) -> GaussianMixture:
    """Spiral arms of outer radius 3, each a chain of overlapping normal densities.

    Args:
        arms: the number of arms.
        width: standard deviation across an arm.
        turns: number of turns of an arm about the origin.
        beads: number of normal densities in each arm.

    >>> spirals().sample(5)[0].shape
    torch.Size([5, 2])
    """
    # The square root spaces beads evenly along the arm.
    t = ((torch.arange(beads) + 0.5) / beads).sqrt()
    angle = 2.0 * math.pi * (turns * t + torch.arange(arms)[:, None] / arms)
    locations = 3.0 * torch.stack([t * angle.cos(), t * angle.sin()], -1).view(-1, 2)
    return GaussianMixture(Domain.real(2), locations, torch.tensor(width))


def checkerboard(*, fields: int = 4, reach: float = 4.0) -> ImageDensity:
    """Uniform on the black fields of a board of `fields` × `fields` on [−reach, reach]²; a density in intervals.

    Args:
        fields: number of fields along each side.
        reach: half the side of the board.

    >>> checkerboard().log_prob(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).exp()
    tensor([0.0000, 0.0312])
    """
    field = torch.arange(fields)
    black = (field + field[:, None] + fields + 1) % 2
    return ImageDensity(black.float(), (-reach, reach), (-reach, reach))


class Funnel(Distribution):
    """x₀ ~ N(0, scale²), the others ~ N(0, exp(x₀)): a wide mouth and a narrow neck.

    Neal 2003, DOI 10.1214/aos/1056562461. Ignores `context`.

    Args:
        size: number of coordinates, at least 2.
        scale: standard deviation of x₀.

    Raises:
        OptionError: if there are fewer than two coordinates, or the scale is not positive.

    >>> Funnel(3).sample(5)[0].shape
    torch.Size([5, 3])
    """

    like: Tensor

    def __init__(self, size: int = 10, scale: float = 3.0) -> None:
        if size < 2 or not scale > 0.0:
            raise OptionError(f"Funnel: expected size ≥ 2 and a positive scale; got {size} and {scale:g}.")
        super().__init__(Domain.real(size))
        self.scale = scale
        self.register_buffer("like", torch.empty(0), persistent=False)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        like = self.like
        noise = torch.randn(n, len(self.domain), dtype=like.dtype, device=like.device, generator=generator)
        first = self.scale * noise[:, :1]
        x = torch.cat([first, (first / 2).exp() * noise[:, 1:]], 1)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Funnel")
        first, others = x[:, 0], x[:, 1:]
        quadratic = (first / self.scale).square() + (others * (-first / 2)[:, None].exp()).square().sum(1)
        size = len(self.domain)
        return -0.5 * quadratic - math.log(self.scale) - (size - 1) * first / 2 - size * LOG_SQRT_2PI


class Pinwheel(Distribution):
    """Blades around the origin; each is a normal density with a twist that increases with the radius.

    A point at radius r is rotated by rate·exp(r). This preserves areas, so the density is exact. The commonly used
    generator rotates by the blade's radial coordinate instead, which is nearly the same for narrow blades.
    Ignores `context`.

    Args:
        blades: the number of blades.
        radial: standard deviation along a blade, whose middle is at radius 1 before scaling.
        tangential: standard deviation across a blade.
        rate: the rate of the twist.
        scale: final scaling factor of all coordinates.

    Raises:
        OptionError: if there is no blade.

    >>> Pinwheel().sample(5)[0].shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        blades: int = 5,
        *,
        radial: float = 0.3,
        tangential: float = 0.1,
        rate: float = 0.25,
        scale: float = 2.0,
    ) -> None:
        if blades < 1:
            raise OptionError(f"Pinwheel: expected at least one blade; got {blades}.")
        super().__init__(Domain.real(2))
        self.rate, self.scale, self.blades = rate, scale, blades
        self.blade = GaussianMixture(self.domain, torch.tensor([[1.0, 0.0]]), torch.tensor([radial, tangential]))

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, _ = self.blade.sample(n, generator=generator)
        blade = torch.randint(self.blades, (n,), device=x.device, generator=generator)
        x = self.scale * _rotate(x, self._twist(x) + 2.0 * math.pi / self.blades * blade)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Pinwheel")
        x = x / self.scale
        straight = _rotate(x, -self._twist(x))
        each = [
            self.blade.log_prob(_rotate(straight, torch.full_like(x[:, 0], -2.0 * math.pi * k / self.blades)))
            for k in range(self.blades)
        ]
        return torch.stack(each).logsumexp(0) - math.log(self.blades) - 2.0 * math.log(self.scale)

    def _twist(self, x: Tensor) -> Tensor:
        twist: Tensor = self.rate * x.norm(dim=1).exp()
        return twist


class Cylinder(Distribution):
    """N(x | 0, 1) · von Mises(φ | 3x, 1): a wave on a cylinder (Stimper et al. 2023, arXiv 2302.12014).

    Ignores `context`.

    Args:
        winding: the mean of φ is winding · x.
        concentration: κ of φ, positive.

    Raises:
        OptionError: if the concentration is not positive.

    >>> print(Cylinder().domain)
    Domain[real 'x', circle(-3.142, 3.142) 'phi']
    """

    def __init__(self, winding: float = 3.0, concentration: float = 1.0) -> None:
        if not concentration > 0.0:
            raise OptionError(f"Cylinder: expected a positive concentration; got {concentration:g}.")
        line, circle = Domain.real(1, names=["x"]), Domain.circle(1, names=["phi"])
        super().__init__(line + circle)
        self.winding = winding
        # A von Mises density of width σ on a circle of 2π has κ = 1/σ².
        width = torch.tensor([1.0, 1.0 / math.sqrt(concentration)])
        self.straight = Independent(self.domain, torch.zeros(2), width)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, log_prob = self.straight.sample(n, generator=generator)
        return self.domain.wrap(self._wind(x, self.winding)), log_prob

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Cylinder")
        return self.straight.log_prob(self._wind(x, -self.winding))

    @staticmethod
    def _wind(x: Tensor, by: float) -> Tensor:
        return torch.stack([x[:, 0], x[:, 1] + by * x[:, 0]], 1)


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    """x (batch, 2) rotated by angle (batch,)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)
