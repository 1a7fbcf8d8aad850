"""The interface of layers: `forward` from latent to data, `inverse` back, each with its log-ratio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from boltzflow.core.compilation import compile_method
from boltzflow.core.domain import Domain
from boltzflow.core.fingerprint import Fingerprinted
from boltzflow.core.transformers import Transformer
from boltzflow.errors import DomainError


class Layer(Fingerprinted, ABC):
    """A map between two domains that returns the change of log-density.

    Both directions return ``(out, log_ratio)`` with log_ratio of shape (batch,). For a `Bijection` it is
    log|det ∂out/∂in| of the direction called, for a `StochasticLayer` it is log[P(undo)/P(do)]. Log-ratios of a chain
    therefore add up for any layers.

    `context` (batch, C) conditions the layer. A layer that ignores the context says so in its docstring.
    `generator` is the random number generator of stochastic layers.
    """

    def __init__(self, latent_domain: Domain, data_domain: Domain) -> None:
        super().__init__()
        self.latent_domain = latent_domain
        self.data_domain = data_domain

    @abstractmethod
    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latent to data: z (batch, *latent shape) → x (batch, *data shape), log_ratio (batch,)."""

    @abstractmethod
    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Data to latent: x (batch, *data shape) → z (batch, *latent shape), log_ratio (batch,)."""

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        """The stochastic layers contained in this layer; with any of them there is no density in closed form."""
        return ()

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """The directions (``"forward"``, ``"inverse"``) that compile to one graph, without loops of unknown length."""
        return ("forward", "inverse")

    def compile_directions(self, together: bool = False) -> None:
        """Compile the `whole_directions` in place, if a compiler works.

        together: for layers that contain layers, whether to compile them as a whole too.
        """
        for part in self.modules():
            if isinstance(part, Transformer):
                part.compile_kernel()
        for name in self.whole_directions:
            compile_method(self, name, dynamic=False)


class Bijection(Layer):
    """A differentiable map with a differentiable inverse; log_ratio is the log-determinant of its Jacobian."""


class StochasticLayer(Layer):
    """A random map; log_ratio is log[P(undo)/P(do)] of the sampled step (Wu et al. 2020, arXiv 2002.06707)."""

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        return (self,)

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """None, because the layer evaluates an external density."""
        return ()


class Chain(Layer):
    """A sequence of layers; `forward` applies them from first to last.

    Raises:
        DomainError: if a layer's data domain is not the next one's latent domain.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not layers:
            raise DomainError("Expected at least one layer in a chain; got none.")
        for i, (first, second) in enumerate(pairwise(layers)):
            if first.data_domain != second.latent_domain:
                raise DomainError(
                    f"Expected layer {i} ({type(first).__name__}) to end in {second.latent_domain}, the latent domain "
                    f"of layer {i + 1} ({type(second).__name__}); got {first.data_domain}."
                )
        super().__init__(layers[0].latent_domain, layers[-1].data_domain)
        self.layers = nn.ModuleList(layers)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_ratio = z.new_zeros(z.shape[0])
        for layer in self:
            z, step = layer(z, context, generator=generator)
            log_ratio = log_ratio + step
        return z, log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_ratio = x.new_zeros(x.shape[0])
        for layer in reversed(list(self)):
            x, step = layer.inverse(x, context, generator=generator)
            log_ratio = log_ratio + step
        return x, log_ratio

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        return tuple(found for layer in self for found in layer.stochastic_layers)

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """The directions that all layers have in common."""
        return tuple(name for name in ("forward", "inverse") if all(name in layer.whole_directions for layer in self))

    def compile_directions(self, together: bool = False) -> None:
        """Compile each layer separately, because layers of one shape share code; optionally all together too."""
        for layer in self:
            layer.compile_directions(together)
        if together:
            super().compile_directions()

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.layers)


class Inverse(Layer):
    """The inverse of a layer: its `forward` is the layer's `inverse`."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer.data_domain, layer.latent_domain)
        self.layer = layer

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.layer.inverse(z, context, generator=generator)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.layer(x, context, generator=generator)
        return out

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        return self.layer.stochastic_layers

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """Those of the wrapped layer, exchanged."""
        opposite = {"forward": "inverse", "inverse": "forward"}
        return tuple(opposite[name] for name in self.layer.whole_directions)

    def compile_directions(self, together: bool = False) -> None:
        """Those of the wrapped layer."""
        self.layer.compile_directions(together)
