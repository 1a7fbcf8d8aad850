"""Base classes of targets with exact samples and known normalisation, in general and in the plane."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from boltzflow.core.distributions.image import ImageDensity
from boltzflow.core.domain import Domain
from boltzflow.core.functional.quadrature import gauss_legendre
from boltzflow.core.samplers import rejection_sampling


class ExactTarget(nn.Module, ABC):
    """An unnormalised density with known normalisation and exact samples, for tests.

    Ignores `context`.

    Attributes:
        domain: the domain of the samples.
        like: an empty buffer: `.to(…)` moves it, and samples have its dtype and device.
    """

    like: Tensor

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain
        self.register_buffer("like", torch.empty(0), persistent=False)

    @property
    @abstractmethod
    def log_z(self) -> float:
        """log ∫ exp(log_prob)."""

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,) of x (batch, D), not normalised: subtract `log_z`."""

    @abstractmethod
    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """n independent samples (n, D) and their `log_prob` (n,)."""


class PlaneTarget(ExactTarget):
    """A smooth target in the plane whose mass outside a box is below float64 precision.

    Its normalisation is computed by quadrature in the box. Its samples are exact, by rejection from a histogram that
    bounds the density from above. Ignores `context`.

    Args:
        x_range: left and right edge of the box.
        y_range: lower and upper edge.
    """

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        super().__init__(Domain.real(2, names=["x", "y"]))
        self.x_range, self.y_range = x_range, y_range

    @cached_property
    def log_z(self) -> float:
        """log ∫ exp(log_prob), computed by quadrature at first access."""
        return log_integral(self.log_prob, self.x_range, self.y_range)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        envelope, log_mass = self._envelope
        x, _ = rejection_sampling(envelope.to(self.like.device), self, log_mass, n, generator=generator)
        x = x.to(self.like.dtype)
        return x, self.log_prob(x)

    @cached_property
    def _envelope(self) -> tuple[ImageDensity, float]:
        """A histogram above the density, and the log of its integral."""
        pixels = 512
        (left, right), (low, high) = self.x_range, self.y_range
        middles = (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels
        grid = torch.cartesian_prod(high + (low - high) * middles, left + (right - left) * middles).flip(1)
        with torch.no_grad():
            log_image = self.log_prob(grid).view(1, pixels, pixels)
        # The largest value at the nine surrounding pixel centres bounds a pixel, except for curvature, which the
        # margin covers.
        log_image = max_pool2d(log_image, 3, stride=1, padding=1)[0] + 0.1
        peak = log_image.max()
        image = (log_image - peak).exp()
        area = (right - left) / pixels * (high - low) / pixels
        envelope = ImageDensity(image, self.x_range, self.y_range).double()
        return envelope, (image.sum() * area).log().add(peak).item()


def log_integral(
    log_f: Callable[[Tensor], Tensor], x_range: tuple[float, float], y_range: tuple[float, float], panels: int = 64
) -> float:
    """log ∫ exp(log_f) over a rectangle, by Gauss–Legendre quadrature with 16 nodes in each panel.

    Args:
        log_f: (batch, 2) float64 → (batch,).
        x_range: left and right edge.
        y_range: lower and upper edge.
        panels: along each coordinate.
    """
    nodes, weights = gauss_legendre(16)
    axes, steps = [], []
    for low, high in (x_range, y_range):
        width = (high - low) / panels
        starts = low + width * torch.arange(panels, dtype=torch.float64)
        axes.append((starts[:, None] + width * nodes).flatten())
        steps.append((width * weights).log().repeat(panels))
    grid, log_weights = torch.cartesian_prod(*axes), torch.cartesian_prod(*steps).sum(1)
    with torch.no_grad():
        pairs = zip(torch.split(grid, 1 << 17), torch.split(log_weights, 1 << 17), strict=True)
        parts = [torch.logsumexp(log_f(x) + w, 0) for x, w in pairs]
    return torch.stack(parts).logsumexp(0).item()
