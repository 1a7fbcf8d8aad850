"""The standard base of a Domain: one one-dimensional density for each coordinate."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.distributions.normal import LOG_SQRT_2PI
from boltzflow.core.domain import Domain
from boltzflow.core.functional.quadrature import gauss_legendre
from boltzflow.errors import OptionError, ShapeError


class Independent(Distribution):
    """A product of one-dimensional densities; the kind of each coordinate determines the family.

    =========  ===================  ==========================
    kind       finite width         infinite width
    =========  ===================  ==========================
    real       normal               (refused)
    interval   truncated normal     uniform
    circle     von Mises            uniform
    =========  ===================  ==========================

    A von Mises density of width σ (in the circle's units) has the concentration κ = (circumference/2πσ)².
    Ignores `context`.

    Args:
        domain: flat, of D coordinates.
        location: (D,), by default 0 on real lines and the middle of intervals and circles.
        width: (D,) positive, by default 1 on real lines and infinite elsewhere.
        trainable: whether location and width are learned; samples are differentiable with respect to both.

    Raises:
        ShapeError: if location or width do not have one number for each coordinate.
        OptionError: if a width is not positive, or infinite on a real line; if a truncated normal is located
            outside its interval.

    >>> base = Independent(Domain.real(1) + Domain.circle(2))
    >>> x, log_prob = base.sample(10)
    >>> x.shape, log_prob.shape
    (torch.Size([10, 3]), torch.Size([10]))
    """

    location: Tensor
    log_width: Tensor
    normal: Tensor
    truncated: Tensor
    von_mises: Tensor
    uniform: Tensor

    def __init__(
        self,
        domain: Domain,
        location: Tensor | None = None,
        width: Tensor | None = None,
        trainable: bool = False,
    ) -> None:
        super().__init__(domain)
        dtype = torch.get_default_dtype()
        if location is None:
            location = domain.middle(torch.empty(0))
        if width is None:
            width = torch.tensor([1.0 if c.kind == "real" else math.inf for c in domain])
        for name, given in (("location", location), ("width", width)):
            if tuple(given.shape) != (len(domain),):
                raise ShapeError(f"Independent: expected {name} of shape ({len(domain)},); got {tuple(given.shape)}.")
        for coordinate, sigma in zip(domain, width.tolist(), strict=True):
            if not sigma > 0.0 or (math.isinf(sigma) and coordinate.kind == "real"):
                raise OptionError(f"Independent: expected a positive width for {coordinate}; got {sigma:g}.")
        for coordinate, center, sigma in zip(domain, location.tolist(), width.tolist(), strict=True):
            if (
                coordinate.kind == "interval"
                and math.isfinite(sigma)
                and not coordinate.low <= center <= coordinate.high
            ):
                raise OptionError(f"Independent: expected a location inside {coordinate}; got {center:g}.")
        flat = torch.isinf(width)
        is_kind = {kind: torch.tensor([c.kind == kind for c in domain]) for kind in ("real", "interval", "circle")}
        for name, members in (
            ("normal", is_kind["real"]),
            ("truncated", is_kind["interval"] & ~flat),
            ("von_mises", is_kind["circle"] & ~flat),
            ("uniform", ~is_kind["real"] & flat),
        ):
            self.register_buffer(name, members.nonzero().squeeze(1), persistent=False)
        log_width = torch.where(flat, torch.zeros_like(width), width.log())
        if trainable:
            self.location = nn.Parameter(location.to(dtype).clone())
            self.log_width = nn.Parameter(log_width.to(dtype).clone())
        else:
            self.register_buffer("location", location.to(dtype).clone())
            self.register_buffer("log_width", log_width.to(dtype).clone())

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        location, width = self.location, self.log_width.exp()
        low, high = self.domain.lows(location), self.domain.highs(location)
        uniform = partial(torch.rand, device=location.device, generator=generator)
        normal = partial(torch.randn, device=location.device, generator=generator)
        x = location.new_empty(n, len(self.domain))
        if len(i := self.normal):
            x = x.index_copy(1, i, location[i] + width[i] * normal(n, len(i), dtype=x.dtype))
        if len(i := self.uniform):
            x = x.index_copy(
                1, i, (low[i] + (high - low)[i] * uniform(n, len(i), dtype=x.dtype)).clamp(low[i], high[i])
            )
        if len(i := self.truncated):
            # In double precision, because single precision has too few distinct values in the tails.
            fraction = uniform(n, len(i), dtype=torch.float64)
            at, sigma = location[i].double(), width[i].double()
            first, last = torch.special.ndtr((low[i] - at) / sigma), torch.special.ndtr((high[i] - at) / sigma)
            z = math.sqrt(2.0) * torch.erfinv(2.0 * (first + (last - first) * fraction) - 1.0)
            x = x.index_copy(1, i, (at + sigma * z).to(x.dtype).clamp(low[i], high[i]))
        if len(i := self.von_mises):
            radius = (high - low)[i] / (2.0 * math.pi)
            angle = _von_mises_noise(n, (radius / width[i]).square(), generator)
            x = x.index_copy(1, i, location[i] + radius * angle)
        x = self.domain.wrap(x)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Independent")
        location, width = self.location, self.log_width.exp()
        low, high = self.domain.lows(location), self.domain.highs(location)
        log_prob = x.new_zeros(x.shape[0])
        if len(i := self.normal):
            # In the common case that all coordinates are normal, no selection is needed.
            z = (x - location) / width if len(i) == len(self.domain) else (x[:, i] - location[i]) / width[i]
            log_prob = log_prob - 0.5 * z.square().sum(1) - (self.log_width[i] + LOG_SQRT_2PI).sum()
        if len(i := self.truncated):
            z = (x[:, i] - location[i]) / width[i]
            first, last = ((edge - location)[i].double() / width[i].double() for edge in (low, high))
            mass = (torch.special.ndtr(last) - torch.special.ndtr(first)).log().to(x.dtype)
            log_prob = log_prob + (-0.5 * z.square() - self.log_width[i] - LOG_SQRT_2PI - mass).sum(1)
        if len(i := self.von_mises):
            radius = (high - low)[i] / (2.0 * math.pi)
            kappa = (radius / width[i]).square()
            angle = (x[:, i] - location[i]) / radius
            # cos a − 1 = −2 sin²(a/2) is accurate even if the density is sharp.
            peak = (2.0 * math.pi * radius).log() + torch.special.i0e(kappa).log()
            log_prob = log_prob + (-2.0 * kappa * (angle / 2).sin().square() - peak).sum(1)
        if len(i := self.uniform):
            log_prob = log_prob - (high - low)[i].log().sum()
        return torch.where(self.domain.contains(x), log_prob, -torch.inf)


def _von_mises_noise(n: int, kappa: Tensor, generator: torch.Generator | None) -> Tensor:
    """Angles (n, d) of von Mises densities about 0, by rejection from a wrapped Cauchy (Best & Fisher 1979).

    Rejection is not differentiable in κ; the implicit derivative is used instead (Figurnov et al. 2018, arXiv
    1805.08498).
    """
    shape = (n, len(kappa))
    k = kappa.detach().double().expand(shape)
    tau = 1.0 + (1.0 + 4.0 * k.square()).sqrt()
    rho = (tau - (2.0 * tau).sqrt()) / (2.0 * k)
    # For small κ the formula suffers from cancellation; its limit is then exact to double precision.
    r = torch.where(k > 1e-4, (1.0 + rho.square()) / (2.0 * rho), 1.0 / k.clamp(min=1e-300))
    angle = k.new_zeros(shape)
    waiting = torch.ones(shape, dtype=torch.bool, device=k.device)
    while waiting.any():
        u1, u2, u3 = torch.rand(3, *shape, dtype=k.dtype, device=k.device, generator=generator)
        z = (math.pi * u1).cos()
        f = (1.0 + r * z) / (r + z)
        c = k * (r - f)
        accepted = waiting & ((c * (2.0 - c) > u2) | ((c / u2).log() + 1.0 - c >= 0.0))
        angle = torch.where(accepted, (u3 - 0.5).sign() * f.clamp(-1.0, 1.0).acos(), angle)
        waiting = waiting & ~accepted
    if kappa.requires_grad:
        angle = angle + _von_mises_rate(angle, k) * (kappa - kappa.detach())
    return angle.to(kappa.dtype)


def _von_mises_rate(angle: Tensor, kappa: Tensor) -> Tensor:
    """∂angle/∂κ (n, d) at a constant value of the cumulative distribution function F: −(∂F/∂κ)/p.

    With A = I₁/I₀ this is −∫₀ᵃ (cos t − A) exp(κ (cos t − cos a)) dt, because F is odd about the mean.
    """
    rest = 1.0 - torch.special.i1e(kappa) / torch.special.i0e(kappa)  # 1 − A
    total, end = torch.zeros_like(angle), (0.5 * angle).sin().square()
    for node, weight in zip(*(t.tolist() for t in gauss_legendre(32)), strict=True):
        here = (0.5 * node * angle).sin().square()  # (1 − cos t)/2
        total = total + weight * (rest - 2.0 * here) * (2.0 * kappa * (end - here)).exp()
    return -angle * total
