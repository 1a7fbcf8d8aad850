"""Mixtures and products of densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import cast

import torch
from torch import Tensor, nn

from boltzflow.core.distributions.distribution import Density, Distribution
from boltzflow.core.distributions.normal import LOG_SQRT_2PI
from boltzflow.core.distributions.parameter import check_broadcasts, check_rows, make_parameter
from boltzflow.core.domain import Domain
from boltzflow.errors import DomainError, OptionError, ShapeError


class _Weighted(Distribution):
    """The base class of mixtures: weights, and the choice of a component for each sample."""

    def __init__(self, domain: Domain, count: int, weights: Tensor | None, trainable: bool, context_size: int) -> None:
        super().__init__(domain)
        where = type(self).__name__
        weights = torch.ones(count) if weights is None else weights
        if tuple(weights.shape) != (count,):
            raise ShapeError(f"{where}: expected {count} weights; got shape {tuple(weights.shape)}.")
        if not bool((weights > 0.0).all() & weights.isfinite().all()):
            raise OptionError(f"{where}: expected positive weights; got {weights.tolist()}.")
        self.logits = make_parameter((weights / weights.sum()).log(), trainable, context_size)

    def log_weights(self, context: Tensor | None = None) -> Tensor:
        """Normalised log-weights (batch or 1, K)."""
        return torch.log_softmax(self.logits(context), -1)

    def _choose(self, n: int, context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The component from which each of n samples comes: (n,) int64."""
        weights = self.log_weights(context).detach().exp()
        check_rows(len(weights), n, type(self).__name__)
        if len(weights) == 1:  # `multinomial` raises for n = 0
            return torch.multinomial(weights[0], max(1, n), replacement=True, generator=generator)[:n]
        return torch.multinomial(weights, 1, generator=generator)[:, 0]


class Mixture(_Weighted):
    """A weighted sum of densities on one domain: of distributions, of flows, or of both.

    A flow and a wide normal density make a defensive mixture, whose importance weights are bounded
    (Hesterberg 1995, DOI 10.2307/1269620). Samples are exact. Their gradients reach the components, but not the
    weights: weights are learned from `log_prob`, by maximum likelihood.

    Args:
        components: K densities with equal domains; each gets the context. Targets with a known `log_z` are
            normalised with it.
        weights: (K,) positive, normalised here; by default equal.
        trainable: whether the weights are learned; they always are with a context. Components keep their
            own parameters.
        context_size: size of the context on which the logits of the weights depend linearly; 0 for none.

    Raises:
        OptionError: if there is no component, or a weight is not positive.
        DomainError: if the components are on different domains.
        ShapeError: if there is not one weight for each component.

    >>> from boltzflow.core.distributions import Independent
    >>> circle = Domain.circle(1)
    >>> peaks = [Independent(circle, torch.tensor([at]), torch.tensor([0.3])) for at in (-1.0, 2.0)]
    >>> Mixture(peaks, weights=torch.tensor([3.0, 1.0])).log_weights().exp()
    tensor([[0.7500, 0.2500]])
    """

    def __init__(
        self,
        components: Sequence[Density],
        weights: Tensor | None = None,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        if not components:
            raise OptionError("Mixture: expected at least one component; got none.")
        domain = components[0].domain
        for i, component in enumerate(components):
            if component.domain != domain:
                raise DomainError(
                    f"Mixture: expected component {i} on {domain}, the domain of the first; got {component.domain}."
                )
        super().__init__(domain, len(components), weights, trainable, context_size)
        self.components = nn.ModuleList(cast(Sequence[nn.Module], components))

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        chosen = self._choose(n, context, generator)
        parts, places = [], []
        for k, component in enumerate(self._densities()):
            rows = (chosen == k).nonzero()[:, 0]
            if len(rows) or n == 0:
                some = None if context is None else context[rows]
                parts.append(component.sample(len(rows), some, generator=generator)[0])
                places.append(rows)
        x = torch.cat(parts)[torch.cat(places).argsort()]
        return x, self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        each = [component.log_prob(x, context) - getattr(component, "log_z", 0.0) for component in self._densities()]
        return _log_sum(torch.stack(each, -1) + self.log_weights(context))

    def _densities(self) -> Sequence[Density]:
        return cast(Sequence[Density], self.components)


class GaussianMixture(_Weighted):
    """A mixture of normal densities with independent coordinates, evaluated together.

    With a context it is a mixture density network with a linear net (Bishop 1994); for full covariances use a
    `Mixture` of `FullNormal`. Gradients of samples reach locations and scales, but not the weights (see `Mixture`).

    Args:
        domain: real, of any event shape.
        locations: (K, *shape).
        scales: standard deviations, positive, broadcasts to (K, *shape); by default 1.
        weights: (K,) positive, normalised here; by default equal.
        trainable: whether all of them are learned; they always are with a context.
        context_size: size of the context on which locations, log-scales and logits depend linearly; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        ShapeError: if locations, scales or weights do not fit the domain or one another.
        OptionError: if a scale or a weight is not positive.

    >>> mixture = GaussianMixture(Domain.real(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor(0.5))
    >>> x, log_prob = mixture.sample(10)
    >>> x.shape, log_prob.shape
    (torch.Size([10, 2]), torch.Size([10]))
    """

    def __init__(
        self,
        domain: Domain,
        locations: Tensor,
        scales: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        for coordinate in domain:
            if coordinate.kind != "real":
                raise DomainError(f"GaussianMixture: expected real coordinates; got {coordinate}.")
        if tuple(locations.shape[1:]) != domain.shape or not len(locations):
            expected = ", ".join(map(str, ("K", *domain.shape)))
            raise ShapeError(f"GaussianMixture: expected locations ({expected}); got {tuple(locations.shape)}.")
        super().__init__(domain, len(locations), weights, trainable, context_size)
        scales = torch.ones(()) if scales is None else scales
        check_broadcasts(scales, tuple(locations.shape), "scale", "GaussianMixture")
        if not bool((scales > 0.0).all()):
            raise OptionError(f"GaussianMixture: expected positive scales; got {scales.min().item():g}.")
        self.locations = make_parameter(locations, trainable, context_size)
        self.log_scales = make_parameter(scales.log().expand(locations.shape), trainable, context_size)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        chosen = self._choose(n, context, generator)
        locations, scales = self.locations(context), self.log_scales(context).exp()
        row = chosen.new_zeros(()) if len(locations) == 1 else torch.arange(n, device=chosen.device)
        noise = torch.randn(n, *self.domain.shape, dtype=locations.dtype, device=locations.device, generator=generator)
        x = locations[row, chosen] + scales[row, chosen] * noise
        return x, self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "GaussianMixture")
        log_scales = self.log_scales(context)
        z = (x[:, None] - self.locations(context)) * (-log_scales).exp()
        each = (-0.5 * z.square() - log_scales - LOG_SQRT_2PI).flatten(2).sum(-1)
        # Far from all modes each term is −∞, and their log-sum has no gradient; that of the nearest mode is used.
        z = z.detach().flatten(2)
        nearest = (z / z.abs().amax((1, 2), keepdim=True)).square().sum(-1).argmin(-1, keepdim=True)
        alone = each.gather(-1, nearest)[:, 0]
        return torch.where(alone == -torch.inf, alone, _log_sum(each + self.log_weights(context)))


class Product(Distribution):
    """A product of independent densities on the joined domain; each gets the context.

    The product of a target and a normal density is the target of an augmented flow (Huang et al. 2020,
    arXiv 2002.07101).

    Args:
        components: densities on flat domains.

    Raises:
        DomainError: if there is no component, or the domain of one is an array.

    >>> from boltzflow.core.distributions import DiagonalNormal, Independent
    >>> print(Product([DiagonalNormal(Domain.real(1)), Independent(Domain.circle(1))]).domain)
    Domain[real, circle(-3.142, 3.142)]
    """

    def __init__(self, components: Sequence[Density]) -> None:
        if not components:
            raise DomainError("Product: expected at least one component; got none.")
        super().__init__(reduce(add, (component.domain for component in components)))
        self.components = nn.ModuleList(cast(Sequence[nn.Module], components))
        self.sizes = [len(component.domain) for component in components]
        self.log_z = math.fsum(getattr(component, "log_z", 0.0) for component in components)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        pairs = [component.sample(n, context, generator=generator) for component in self._densities()]
        return torch.cat([x for x, _ in pairs], -1), torch.stack([log_prob for _, log_prob in pairs]).sum(0)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Product")
        parts = zip(self._densities(), torch.split(x, self.sizes, -1), strict=True)
        return torch.stack([component.log_prob(part, context) for component, part in parts]).sum(0)

    def _densities(self) -> Sequence[Density]:
        return cast(Sequence[Density], self.components)


def _log_sum(each: Tensor) -> Tensor:
    """log Σ exp over the last axis; −inf with zero gradient if all terms are −inf."""
    empty = (each == -torch.inf).all(-1)
    total = torch.logsumexp(torch.where(empty[..., None], 0.0, each), -1)
    return torch.where(empty, -torch.inf, total)
