"""A base density carried through layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Distribution
from boltzflow.core.domain import Domain
from boltzflow.core.fingerprint import state_of
from boltzflow.core.layer import Layer
from boltzflow.errors import DomainError, IntractableDensityError


class Flow(nn.Module):
    """A base density q₀ and layers that carry it from latent to data space.

    Args:
        base: the density q₀(z).
        transform: a `Layer`, often a `Chain`, from the base's domain to the data's.

    Raises:
        DomainError: if the base lives elsewhere than the transform begins.

    >>> from boltzflow.core import Domain, recipes
    >>> flow = recipes.spline_flow(Domain.real(1) + Domain.circle(1), layers=2, hidden=(16,))
    >>> x, log_q = flow.sample(4)
    >>> torch.allclose(flow.log_prob(x), log_q, atol=1e-4)
    True
    """

    def __init__(self, base: Distribution, transform: Layer) -> None:
        if base.domain != transform.latent_domain:
            raise DomainError(
                f"The base lives on {base.domain}, but the first layer expects {transform.latent_domain}."
            )
        super().__init__()
        self.base = base
        self.transform = transform

    @property
    def domain(self) -> Domain:
        """Where samples live."""
        return self.transform.data_domain

    @property
    def like(self) -> Tensor:
        """A tensor of the flow's dtype on its device, for ``x.to(flow.like)`` or ``flow.like.new_zeros(n)``."""
        return next((t for t in state_of(self) if t.is_floating_point()), torch.empty(0))

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples and their log-densities, differentiable with respect to the parameters.

        With stochastic layers log q is that of the path, log q₀(z) − Σ log_ratio: weights p/q stay exact
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
        """Log-density (batch,) of x (batch, *shape): −inf outside the intervals of the domain; circles are wrapped.

        Raises:
            IntractableDensityError: if a layer is stochastic.
            ShapeError: if x is not a batch of states.
        """
        if found := self.transform.stochastic_layers:
            names = ", ".join(sorted({type(layer).__name__ for layer in found}))
            raise IntractableDensityError(f"A flow with stochastic layers ({names}) has no density in closed form.")
        self.domain.check(x, "Flow.log_prob")
        inside = self.domain.contains(x)
        shape = (-1, *[1] * (x.dim() - 1))
        # A point outside stands in for one inside, so that no NaN reaches the gradients of the others.
        safe = torch.where(inside.view(shape), self.domain.wrap(x), self.domain.middle(x))
        z, log_ratio = self.transform.inverse(safe, context)
        return torch.where(inside, self.base.log_prob(z, context) + log_ratio, -torch.inf)

    def compile_layers(self, *, together: bool = False) -> None:
        """Compile each layer on its own, in place: parameters and state-dict keys stay as they are.

        Layers of one shape share their compiled code; stochastic layers stay as they are. Where no compiler
        works, nothing changes.

        Args:
            together: compile the chain of layers as one piece too. The calls between layers are then gone, which
                matters for small nets; the time to compile grows with the number of layers.
        """
        self.transform.compile_directions(together)
