"""Densities given by an image."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.domain import Domain
from boltzflow.errors import OptionError, ShapeError


class ImageDensity(Distribution):
    """The density in a rectangle that is proportional to the brightness of an image.

    Constant within each pixel, or bilinear between pixel centres; normalised and sampled exactly in both cases. To
    learn it from `log_prob` by reverse KL, the image must be smooth and have no black pixels.
    Ignores `context`.

    Args:
        image: (rows, columns) of non-negative brightness; the first row is at the top.
        x_range: left and right edge.
        y_range: lower and upper edge.
        smooth: whether to interpolate.

    Raises:
        ShapeError: if the image does not have two axes, or has more than 2²⁴ pixels.
        OptionError: if a pixel is negative or not finite, or all are black.

    >>> board = ImageDensity(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), (-1.0, 1.0), (-1.0, 1.0))
    >>> board.log_prob(torch.tensor([[0.5, 0.5], [0.5, -0.5]])).exp()  # upper right, lower right
    tensor([0.5000, 0.0000])
    """

    log_density: Tensor

    def __init__(
        self,
        image: Tensor,
        x_range: tuple[float, float] = (-3.0, 3.0),
        y_range: tuple[float, float] = (-3.0, 3.0),
        *,
        smooth: bool = False,
    ) -> None:
        super().__init__(Domain.interval(*x_range, names=["x"]) + Domain.interval(*y_range, names=["y"]))
        if image.dim() != 2 or not 0 < image.numel() <= 1 << 24:
            raise ShapeError(f"ImageDensity: expected (rows, columns), at most 2²⁴ pixels; got {tuple(image.shape)}.")
        image = image.double()
        if not bool((image >= 0.0).all() & image.isfinite().all() & (image.sum() > 0.0)):
            raise OptionError("ImageDensity: expected finite, non-negative pixels, at least one positive; got others.")
        rows, columns = image.shape
        area = (x_range[1] - x_range[0]) / columns * (y_range[1] - y_range[0]) / rows
        log_density = (image / image.sum() / area).log().flip(0).T  # [x, y]
        self.register_buffer("log_density", log_density.to(torch.get_default_dtype(), copy=True))
        self.smooth = smooth

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        like = self.log_density
        # `multinomial` raises for n = 0.
        pixel = torch.multinomial(like.exp().flatten(), max(1, n), replacement=True, generator=generator)[:n]
        index = torch.stack([pixel // like.shape[1], pixel % like.shape[1]], 1).to(like.dtype)
        noise = torch.rand(2, n, 2, dtype=like.dtype, device=like.device, generator=generator)
        size = like.new_tensor(like.shape)
        if self.smooth:
            # A pixel's contribution to the bilinear density is a tent. Samples outside the rectangle are reflected,
            # which makes the density constant on the outer half of the outermost pixels, as in `log_prob`.
            place = index + noise.sum(0) - 0.5
            place = size - (size - place.abs()).abs()
        else:
            place = index + noise[0]
        low, high = self.domain.lows(like), self.domain.highs(like)
        x = (low + (high - low) * place / size).clamp(low, high)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "ImageDensity")
        inside = self.domain.contains(x)
        low, high = self.domain.lows(x), self.domain.highs(x)
        size = x.new_tensor(self.log_density.shape)
        safe = torch.where(inside[:, None], x, self.domain.middle(x))
        place = (safe - low) / (high - low) * size
        log_prob = self._between(place - 0.5, size) if self.smooth else self._at(place.floor(), size)
        return torch.where(inside, log_prob, -torch.inf)

    def _at(self, index: Tensor, size: Tensor) -> Tensor:
        """Log-density (batch,) of pixels (batch, 2); of the nearest pixel if an index is out of range."""
        i = torch.minimum(index.clamp(min=0.0), size - 1.0).long()
        return self.log_density[i[:, 0], i[:, 1]]

    def _between(self, place: Tensor, size: Tensor) -> Tensor:
        corner = place.detach().floor()
        share = place - corner
        terms = []
        for dx in (0.0, 1.0):
            for dy in (0.0, 1.0):
                step = place.new_tensor([dx, dy])
                weight = (1.0 - step + (2.0 * step - 1.0) * share).prod(1)
                terms.append(weight * self._at(corner + step, size).exp())
        return torch.stack(terms).sum(0).log()
