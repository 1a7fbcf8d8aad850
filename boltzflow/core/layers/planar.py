"""Planar and radial maps: they stretch space along one direction, or around one centre."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from boltzflow.core.domain import Domain
from boltzflow.core.functional import monotone_root, unit_softplus
from boltzflow.core.layer import Bijection
from boltzflow.core.nets import ContextParameter
from boltzflow.errors import DomainError, OptionError

Activation = Literal["tanh", "leaky_relu"]
"""The activation of a planar map."""

_LEAK = 0.2


class Planar(Bijection):
    """x = z + û h(w·z + b): space is stretched along û, by an amount that depends on one direction w.

    Rezende & Mohamed 2015, arXiv 1505.05770. û is u shifted along w such that w·û > −1, which makes the map
    invertible. u = 0 gives û = 0, the identity, and is the initial value. The inverse solves one equation for w·z,
    in closed form for the leaky ReLU (slope 0.2 on the left) and by a root search for tanh. Both directions cost O(D).

    Args:
        domain: real, of any shape.
        activation: h, ``"tanh"`` or ``"leaky_relu"``.
        context_size: size of the context that u, w and b depend on, linearly; 0 means that the context is ignored.
        generator: the random number generator of the first w; None for torch's global one.

    Raises:
        DomainError: if a coordinate is not real.
        OptionError: if the activation is unknown.

    >>> layer = Planar(Domain.real(2))
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    def __init__(
        self,
        domain: Domain,
        activation: Activation = "tanh",
        *,
        context_size: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        _require_real(domain, "Planar")
        if activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise OptionError(f"Planar: expected one of the activations {known}; got {activation!r}.")
        super().__init__(domain, domain)
        self.activation = activation
        size = len(domain)
        self.u = ContextParameter(torch.zeros(size), context_size)
        self.w = ContextParameter(torch.randn(size, generator=generator) / size**0.5, context_size)
        self.b = ContextParameter(torch.zeros(1), context_size)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        direction, w, b, gain = self._stretch(context)
        at = (z.flatten(1) * w).sum(1) + b
        height, log_slope = self._profile(at, gain)
        return (z.flatten(1) + direction * height[:, None]).view_as(z), log_slope

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        direction, w, b, gain = self._stretch(context)
        image = (x.flatten(1) * w).sum(1) + b
        if self.activation == "leaky_relu":
            # The slope along w is 1 + (g − 1) h′ > 0, so w·z + b and its image have the same sign.
            at = image / torch.where(image < 0.0, _LEAK * gain + (1.0 - _LEAK), gain)
        else:
            reach = (gain - 1.0).abs()
            at = monotone_root(self._along(gain), image, (image - reach).detach(), (image + reach).detach())
        height, log_slope = self._profile(at, gain)
        return (x.flatten(1) - direction * height[:, None]).view_as(x), -log_slope

    def _stretch(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """û and w (1 or batch, D), b and the gain g = 1 + w·û > 0 (1 or batch,)."""
        u, w, b = self.u(context), self.w(context), self.b(context).squeeze(1)
        along = (w * u).sum(1)
        gain = unit_softplus(along, floor=1e-3)
        square = w.square().sum(1).clamp(min=torch.finfo(w.dtype).tiny)
        return u + ((gain - 1.0 - along) / square)[:, None] * w, w, b, gain

    def _profile(self, at: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """h(a), and the log of the slope along w, 1 + (g − 1) h′(a), computed as a sum of positive numbers."""
        if self.activation == "leaky_relu":
            slope = torch.where(at < 0.0, _LEAK * gain + (1.0 - _LEAK), gain)
            return leaky_relu(at, _LEAK), slope.log()
        height = at.tanh()
        flat = height.square()
        return height, (flat + gain * (1.0 - flat)).log()

    def _along(self, gain: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        def image(at: Tensor) -> tuple[Tensor, Tensor]:
            height, log_slope = self._profile(at, gain)
            return at + (gain - 1.0) * height, log_slope

        return image

    def extra_repr(self) -> str:
        return f"{len(self.data_domain)}, {self.activation}"


class Radial(Bijection):
    """x = z + β (z − c) / (α + |z − c|): space is contracted to a centre c or expanded around it, on a length scale α.

    Rezende & Mohamed 2015, arXiv 1505.05770. β = α (g − 1) with g > 0 makes the map invertible. Initially β = 0,
    the identity. The inverse is a quadratic equation for |z − c|. Both directions cost O(D).

    Args:
        domain: real, of any shape.
        context_size: size of the context that c, α and g depend on; 0 means that the context is ignored.
        generator: the random number generator of the first centre, standard normal; None for torch's global one.

    Raises:
        DomainError: if a coordinate is not real.

    >>> layer = Radial(Domain.real(2))
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    def __init__(self, domain: Domain, *, context_size: int = 0, generator: torch.Generator | None = None) -> None:
        _require_real(domain, "Radial")
        super().__init__(domain, domain)
        self.centre = ContextParameter(torch.randn(len(domain), generator=generator), context_size)
        self.raw = ContextParameter(torch.zeros(2), context_size)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        centre, alpha, gain = self._stretch(context)
        arm = z.flatten(1) - centre
        radius = torch.linalg.vector_norm(arm, dim=1)
        stretch = (radius + alpha * gain) / (radius + alpha)
        return (centre + arm * stretch[:, None]).view_as(z), self._log_ratio(radius, alpha, gain)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        centre, alpha, gain = self._stretch(context)
        arm = x.flatten(1) - centre
        image = torch.linalg.vector_norm(arm, dim=1)
        # r² − 2 p r − α R = 0 with R the image of r; solved without cancellation for either sign of p.
        p, q = (image - alpha * gain) / 2.0, alpha * image
        far = p.abs() + (p.square() + q).sqrt()
        radius = torch.where(p < 0.0, q / far, far)
        stretch = (radius + alpha * gain) / (radius + alpha)
        return (centre + arm / stretch[:, None]).view_as(x), -self._log_ratio(radius, alpha, gain)

    def _stretch(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """c (1 or batch, D), and α > 0 and g > 0 (1 or batch,)."""
        alpha, gain = unit_softplus(self.raw(context), floor=1e-3).unbind(1)
        return self.centre(context), alpha, gain

    def _log_ratio(self, radius: Tensor, alpha: Tensor, gain: Tensor) -> Tensor:
        """D − 1 directions are stretched by (r + αg)/(r + α), and r by (r² + 2αr + α²g)/(r + α)²."""
        outer = radius + alpha
        log_across = ((radius + alpha * gain) / outer).log()
        log_along = ((radius * (radius + 2.0 * alpha) + alpha.square() * gain) / outer.square()).log()
        return (len(self.data_domain) - 1) * log_across + log_along

    def extra_repr(self) -> str:
        return f"{len(self.data_domain)}"


def _require_real(domain: Domain, where: str) -> None:
    for coordinate in domain:
        if coordinate.kind != "real":
            raise DomainError(f"{where}: expected real coordinates; got {coordinate}.")
