"""Transforms the context of a layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.layer import Layer, StochasticLayer
from boltzflow.errors import OptionError


class LogContext(Layer):
    """A layer conditioned on the logarithm of a positive context, scaled from a range to −1 … 1.

    The net gets a temperature in K, or another quantity whose ratios matter, as a number of order one, while base,
    target and other layers get the quantity itself.

    Args:
        layer: any layer that takes a context (batch, C).
        low, high: the range, 0 < low < high. A context outside it is scaled in the same way.

    Raises:
        OptionError: if the range is invalid.

    >>> from boltzflow.core import Domain, layers
    >>> inner = layers.SplineCoupling(Domain.circle(2), [True, False], context_size=1)
    >>> layer = LogContext(inner, 300.0, 1200.0)
    >>> layer.shown(torch.tensor([[300.0], [600.0], [1200.0]]), like=torch.empty(0))
    tensor([[-1.],
            [ 0.],
            [ 1.]])
    """

    def __init__(self, layer: Layer, low: float, high: float) -> None:
        if not 0.0 < low < high < math.inf:
            raise OptionError(f"LogContext: expected a range 0 < low < high; got {low:g} to {high:g}.")
        super().__init__(layer.latent_domain, layer.data_domain)
        self.layer = layer
        self.low, self.high = low, high

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.layer(z, self.shown(context, z), generator=generator)
        return out

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.layer.inverse(x, self.shown(context, x), generator=generator)

    def shown(self, context: Tensor | None, like: Tensor) -> Tensor | None:
        """The transformed context of the layer, for a context (batch, C): same shape, with the dtype of `like`."""
        if context is None:
            return None
        middle, half = math.log(self.low * self.high) / 2, math.log(self.high / self.low) / 2
        return (context.to(like).log() - middle) / half

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        return self.layer.stochastic_layers

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """Those of the wrapped layer."""
        return self.layer.whole_directions

    def compile_directions(self, together: bool = False) -> None:
        """Those of the wrapped layer."""
        self.layer.compile_directions(together)

    def extra_repr(self) -> str:
        return f"{self.low:g} to {self.high:g}"
