"""A layer of Markov chain steps, for stochastic normalizing flows (Wu et al. 2020, arXiv 2002.06707)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from boltzflow.core.kernels.kernel import Kernel
from boltzflow.core.kernels.path import GeometricPath, checked_fraction
from boltzflow.core.kernels.trajectory import safe_log_prob
from boltzflow.core.layer import StochasticLayer
from boltzflow.errors import OptionError


class KernelLayer(StochasticLayer):
    """Steps of a Markov kernel for a density on the path from base to target, with exact path weights.

    The layer stores only the position of the density on the path, so that it can be saved; `bind` sets the path
    (`StochasticFlow` does it). Both directions take the same steps, because the kernel is its own reverse.

    Args:
        kernel: of `boltzflow.core.kernels`.
        fraction: λ of the density π_λ, 0 for the base and 1 for the target, as functions on the layer's domain.
        stop_gradient: whether to stop gradients at the steps. Then reverse KL on path weights trains the layers before
            this one towards π_λ, and the layers after it on fixed samples, as if all these were trained one by one
            (Matthews et al. 2022, arXiv 2201.13117). It is intended for kernels that leave π_λ invariant, whose
            decisions have no gradient anyway. It needs one more evaluation, but no second derivative of the target.

    Raises:
        OptionError: if `fraction` is not in [0, 1].

    >>> from boltzflow.core import Domain, distributions, kernels
    >>> domain = Domain.real(1)
    >>> base, target = (distributions.Independent(domain, width=torch.tensor([w])) for w in (1.0, 2.0))
    >>> layer = KernelLayer(kernels.RandomWalk(domain, step_size=0.5, steps=3), fraction=0.5)
    >>> layer.bind(GeometricPath(base, target))
    >>> x, log_ratio = layer(torch.zeros(10, 1))
    """

    def __init__(self, kernel: Kernel, fraction: float = 1.0, *, stop_gradient: bool = False) -> None:
        super().__init__(kernel.domain, kernel.domain)
        self.kernel = kernel
        self.stop_gradient = stop_gradient
        self.fraction = checked_fraction(fraction, type(self).__name__)
        self.acceptance: Tensor | None = None
        """Mean acceptance () of the last pass; None before the first pass. Not part of the state dict."""
        self._path: GeometricPath | None = None

    def bind(self, path: GeometricPath) -> None:
        """Set the path on which `fraction` lies. The path is only referenced; it is not copied, moved or saved."""
        self._path = path

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        if self._path is None:
            raise OptionError(
                f"{type(self).__name__}: expected a layer bound to a path between densities; got an unbound one. "
                "Put it in a StochasticFlow, or call bind(path)."
            )
        log_prob = partial(self._path.log_prob, context=context, fraction=self.fraction)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stop_gradient):
            move = self.kernel(z, log_prob, context, generator=generator)
        if len(z):
            self.acceptance = move.acceptance.mean()
        log_ratio = move.log_ratio
        if self.stop_gradient and torch.is_grad_enabled() and z.requires_grad:
            before = safe_log_prob(log_prob, self.kernel.domain, z)
            log_ratio = log_ratio + torch.where(before.isfinite(), before - before.detach(), 0.0)
        return move.x, log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self(x, context, generator=generator)
        return out

    def extra_repr(self) -> str:
        return f"fraction={self.fraction:g}"
