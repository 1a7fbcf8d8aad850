"""A base density transformed by layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Distribution
from boltzflow.core.domain import Domain
from boltzflow.core.fingerprint import state_of
from boltzflow.core.layer import Layer
from boltzflow.errors import DomainError, IntractableDensityError


class Flow(nn.Module):
    """A base density q₀ and layers that transform it from latent to data space.

    Args:
        base: the density q₀(z).
        transform: a `Layer`, often a `Chain`, from the base's domain to the data's.

    Raises:
        DomainError: if the domain of the base is not the latent domain of the transform.

    >>> from boltzflow.core import Domain, recipes
    >>> flow = recipes.spline_flow(Domain.real(1) + Domain.circle(1), layers=2, hidden=(16,))
    >>> x, log_q = flow.sample(4)
    >>> torch.allclose(flow.log_prob(x), log_q, atol=1e-4)
    True
    """

    def __init__(self, base: Distribution, transform: Layer) -> None:
        if base.domain != transform.latent_domain:
            raise DomainError(
                f"Expected a base on {transform.latent_domain}, the first layer's latent domain; got {base.domain}."
            )
        super().__init__()
        self.base = base
        self.transform = transform

    @property
    def domain(self) -> Domain:
        """The domain of the samples."""
        return self.transform.data_domain

    @property
    def like(self) -> Tensor:
        """A tensor of the flow's dtype on its device, for ``x.to(flow.like)`` or ``flow.like.new_zeros(n)``."""
        return next((t for t in state_of(self) if t.is_floating_point()), torch.empty(0))

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples and their log-densities, differentiable with respect to the parameters.

        With stochastic layers, log q is that of the path, log q₀(z) − Σ log_ratio, so that weights p/q remain exact
        (Wu et al. 2020, arXiv 2002.06707).

        Args:
            n: number of samples.
            context: (n, C) or None.
            generator: the random number generator.

        Returns:
            x (n, *shape), log_q (n,).
        """
        z, log_q = self.base.sample(n, context, generator=generator)
        x, log_ratio = self.transform(z, context, generator=generator)
        return x, log_q - log_ratio

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,) of x (batch, *shape); −inf outside the intervals of the domain. Circles are wrapped.

        Raises:
            IntractableDensityError: if a layer is stochastic.
            ShapeError: if x is not a batch of states.
        """
        if found := self.transform.stochastic_layers:
            names = ", ".join(sorted({type(layer).__name__ for layer in found}))
            raise IntractableDensityError(f"Expected a flow without stochastic layers for log_prob; got {names}.")
        self.domain.check(x, "Flow.log_prob")
        z, log_ratio, inside = self.latent(x, context)
        return torch.where(inside, self.base.log_prob(z, context) + log_ratio, -torch.inf)

    def latent(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The states z = T⁻¹(x) of the base, log|det ∂z/∂x| (batch,), and whether x is in the domain (batch,).

        States outside the domain are replaced by one inside, so that no NaN reaches the gradients of other states.

        Raises:
            IntractableDensityError: if a layer is stochastic.
        """
        inside = self.domain.contains(x)
        shape = (-1, *[1] * (x.dim() - 1))
        safe = torch.where(inside.view(shape), self.domain.wrap(x), self.domain.middle(x))
        return *self.transform.inverse(safe, context), inside

    def compile_layers(self, *, together: bool = False) -> None:
        """Compile each layer separately, in place; parameters and state-dict keys do not change.

        Layers of one shape share their compiled code; stochastic layers are not compiled. Without a working compiler
        this has no effect.

        Args:
            together: compile the chain of layers as a whole too. This removes the overhead of calls between layers,
                which matters for small nets; compile time grows with the number of layers.
        """
        self.transform.compile_directions(together)
