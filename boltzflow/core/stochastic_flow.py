"""A flow with stochastic layers that sample towards a given target."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.distributions import Distribution
from boltzflow.core.flow import Flow
from boltzflow.core.kernels.adaptation import adaptation_rate, adjust_step_size
from boltzflow.core.kernels.path import GeometricPath
from boltzflow.core.layer import Layer
from boltzflow.core.layers.stochastic import KernelLayer
from boltzflow.core.protocols import Target
from boltzflow.errors import DomainError


class StochasticFlow(Flow):
    """A stochastic normalizing flow: bijections and Markov kernels (Wu et al. 2020, arXiv 2002.06707).

    Its `KernelLayer`s are bound to the geometric path from base to target. Both are functions on the base's domain, so
    each of these layers must act on this domain. The base must be positive wherever the target is. `sample` returns
    the log-density of the path, with which weights are exact for any parameters; with a stochastic layer there is no
    `log_prob`. The target is only referenced; it is not moved, trained or saved with the module.

    Args:
        base: the density q₀(z).
        transform: a `Layer`, often a `Chain`, from the base's domain to the data's.
        target: p, any object with ``log_prob(x, context)``, unnormalised.

    Raises:
        DomainError: if the base's domain is not the latent domain of the transform and of all stochastic layers.

    >>> from boltzflow.core import Domain, distributions, kernels, layers
    >>> domain = Domain.real(1)
    >>> base, target = (distributions.Independent(domain, width=torch.tensor([w])) for w in (1.0, 2.0))
    >>> kernel = kernels.Langevin(domain, step_size=0.5, steps=5, adjusted=False, trainable=True)
    >>> flow = StochasticFlow(base, layers.KernelLayer(kernel), target)
    >>> x, log_weights = flow.log_weights(100)
    """

    def __init__(self, base: Distribution, transform: Layer, target: Target) -> None:
        super().__init__(base, transform)
        self.path = GeometricPath(base, target)
        for layer in self._kernel_layers:
            if layer.data_domain != base.domain:
                raise DomainError(
                    f"Expected {type(layer).__name__} to act on {base.domain}, the base's domain; got "
                    f"{layer.data_domain}."
                )
            layer.bind(self.path)

    def log_weights(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples, and log p − log q of their paths: E[w] = ∫p, and weighted averages are averages over p.

        Args:
            n: number of samples.
            context: (n, C) or None.
            generator: the random number generator.

        Returns:
            x (n, *shape), log-weights (n,), −∞ for a sample that cannot be evaluated.
        """
        x, log_q = self.sample(n, context, generator=generator)
        log_weights = self.path.end.log_prob(x, context) - log_q
        return x, torch.where(log_weights.isfinite(), log_weights, -torch.inf)

    def adapt_step_sizes(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        target_acceptance: float = 0.65,
        iterations: int = 50,
        generator: torch.Generator | None = None,
    ) -> None:
        """Adapt the step sizes of each kernel, in place, until its mean acceptance reaches the target.

        Adapt before or between measurements, never during one (see `kernels.adapt_step_size`).

        Args:
            n: number of samples in an iteration.
            context: (n, C) or None.
            target_acceptance: in (0, 1), for each kernel.
            iterations: number of passes through the flow.
            generator: the random number generator.

        Raises:
            OptionError: if the target acceptance is not in (0, 1).
        """
        with torch.no_grad():
            for iteration in range(iterations):
                self.sample(n, context, generator=generator)
                for layer in self._kernel_layers:
                    if layer.acceptance is not None:
                        rate = adaptation_rate(iteration)
                        adjust_step_size(layer.kernel, layer.acceptance, target_acceptance, rate=rate)

    @property
    def _kernel_layers(self) -> list[KernelLayer]:
        return [layer for layer in self.transform.stochastic_layers if isinstance(layer, KernelLayer)]
