"""Nets with a bounded Lipschitz constant, which makes residual layers invertible."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from boltzflow.core.nets.lipschitz_activations import LipschitzActivation, LipSwish
from boltzflow.core.nets.lipschitz_layers import BoundedLinear, LipschitzConv2d, LipschitzLinear
from boltzflow.errors import OptionError

Vjp = Callable[[Tensor], Tensor]


class Function(Protocol):
    """A net with fixed context and fixed weights."""

    def __call__(self, x: Tensor) -> Tensor:
        """x (batch, D) → (batch, D)."""
        ...

    def linearize(self, x: Tensor) -> tuple[Tensor, Vjp]:
        """The value at x, and u (…, batch or 1, D) → uᵀJ, where J is the Jacobian at x."""
        ...


class LipschitzNet(nn.Module, ABC):
    """A net (batch, D) → (batch, D) whose Lipschitz constant in x is below 1 for all parameter values.

    If a subclass defines only `forward`, its Jacobian is computed by automatic differentiation.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (batch, D), context (batch, C) or None → (batch, D)."""

    def bind(self, context: Tensor | None) -> Function:
        """The net as a function of x only; quantities that do not depend on x are computed once."""
        return _Differentiated(self, context)


class _Differentiated:
    """Any net, with Jacobians by automatic differentiation."""

    def __init__(self, net: LipschitzNet, context: Tensor | None) -> None:
        self.net, self.context = net, context

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x, self.context)
        return out

    def linearize(self, x: Tensor) -> tuple[Tensor, Vjp]:
        value, pull = torch.func.vjp(self, x)  # type: ignore[misc]

        def vjp(u: Tensor) -> Tensor:
            u = u.expand(*u.shape[:-2], *x.shape)
            rows: Tensor = torch.vmap(lambda row: pull(row)[0])(u.reshape(math.prod(u.shape[:-2]), *x.shape))
            return rows.view(u.shape)

        return value, vjp


class _Sequence:
    """Linear maps with activations between them.

    The Jacobian is a product of the maps and of diagonal factors from the forward pass. It needs no automatic
    differentiation, and its gradient no second one.
    """

    def __init__(self, maps: Sequence[BoundedLinear], activations: Sequence[LipschitzActivation]) -> None:
        self.maps, self.activations = maps, activations

    def __call__(self, x: Tensor) -> Tensor:
        h = self.maps[0](x)
        for step, activation in zip(self.maps[1:], self.activations, strict=True):
            h = step(activation.value(h))
        return h

    def linearize(self, x: Tensor) -> tuple[Tensor, Vjp]:
        slopes = []
        h = self.maps[0](x)
        for step, activation in zip(self.maps[1:], self.activations, strict=True):
            h, slope = activation.value_and_slope(h)
            h = step(h)
            slopes.append(slope)

        def vjp(u: Tensor) -> Tensor:
            u = self.maps[-1].adjoint(u)
            for step, slope in zip(self.maps[-2::-1], reversed(slopes), strict=True):
                u = step.adjoint(u * slope)
            return u

        return h, vjp


class _LipschitzSequential(LipschitzNet):
    """Linear layers of bounded norm with activations between them; the last is initially zero."""

    def __init__(
        self,
        layers: Sequence[LipschitzLinear | LipschitzConv2d],
        activation: Callable[[], LipschitzActivation],
        order: float | Literal["learned"],
    ) -> None:
        super().__init__()
        if not isinstance(order, str) and not order >= 1.0:
            raise OptionError(f"{type(self).__name__}: expected the order of a norm, at least 1; got {order:g}.")
        self.layers = nn.ModuleList(layers)
        self.activations = nn.ModuleList(activation() for _ in layers[1:])
        self.order = order
        if isinstance(order, str):
            # 1/p of the norm before each layer is the logistic function of these: initially p = 2.
            self.order_logits = nn.Parameter(torch.zeros(len(layers)))
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias.value)

    def bind(self, context: Tensor | None) -> Function:
        orders: list[float | Tensor]
        if isinstance(self.order, str):
            orders = list(self.order_logits.sigmoid())
        else:
            orders = [1.0 / self.order] * len(self.layers)
        # The output norm of each layer is the input norm of the next, and that of the last is that of the first.
        ends = [*orders[1:], orders[0]]
        # The scales of the activations are merged into the weights, which are fewer numbers than the states.
        scales = [activation.scales() for activation in self.activations]  # type: ignore[operator]
        before = [1.0, *(outer for _, outer in scales)]
        after = [*(inner for inner, _ in scales), 1.0]
        maps = [
            layer.bind(context, begin, end).scaled(*around)  # type: ignore[operator]
            for layer, begin, end, *around in zip(self.layers, orders, ends, before, after, strict=True)
        ]
        return _Sequence(maps, list(self.activations))  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bind(context)(x)


class LipschitzMLP(_LipschitzSequential):
    """A fully connected net whose Lipschitz constant in x is at most `lipschitz`; initially zero.

    Behrmann et al. 2019, arXiv 1811.00995; learned norms: Chen et al. 2019, arXiv 1906.02735. The context shifts
    the biases, without a bound.

    Args:
        features: D, the size of input and output.
        hidden: sizes of the hidden layers.
        lipschitz: the bound for the net, in (0, 1), divided equally between the layers.
        order: p of the norm, from 1 to inf, or "learned", one for each layer.
        activation: builds an activation whose slope is at most 1.
        context_size: size C of the context; 0 for none.

    Shapes:
        x (batch, D), context (batch, C) → (batch, D).

    Raises:
        OptionError: if the bound or the order is invalid.

    >>> LipschitzMLP(2, (16, 16))(torch.ones(1, 2)).abs().max().item()
    0.0
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        *,
        lipschitz: float = 0.97,
        order: float | Literal["learned"] = 2.0,
        activation: Callable[[], LipschitzActivation] = LipSwish,
        context_size: int = 0,
    ) -> None:
        sizes = [features, *hidden, features]
        per_layer = _bound_per_layer(lipschitz, len(sizes) - 1, "LipschitzMLP")
        layers = [LipschitzLinear(*pair, lipschitz=per_layer, context_size=context_size) for pair in pairwise(sizes)]
        super().__init__(layers, activation, order)


class LipschitzCNN(_LipschitzSequential):
    """A convolutional net whose Lipschitz constant in x is at most `lipschitz`; initially zero.

    It takes and returns images as flat states, as a `Residual` layer requires.

    Args:
        shape: (C, H, W) of the images.
        channels: channels of the hidden layers.
        kernel_sizes: odd, one for each convolution, or one for all.
        lipschitz, order, activation, context_size: see `LipschitzMLP`.

    Shapes:
        x (batch, C·H·W), context (batch, context_size) → (batch, C·H·W).

    Raises:
        OptionError: if the bound, the order or a kernel size is invalid.

    >>> LipschitzCNN((1, 8, 8), (16,))(torch.ones(2, 64)).shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: Sequence[int],
        *,
        kernel_sizes: int | Sequence[int] = 3,
        lipschitz: float = 0.97,
        order: float | Literal["learned"] = 2.0,
        activation: Callable[[], LipschitzActivation] = LipSwish,
        context_size: int = 0,
    ) -> None:
        sizes = [shape[0], *channels, shape[0]]
        per_layer = _bound_per_layer(lipschitz, len(sizes) - 1, "LipschitzCNN")
        kernels = [kernel_sizes] * (len(sizes) - 1) if isinstance(kernel_sizes, int) else list(kernel_sizes)
        if len(kernels) != len(sizes) - 1:
            raise OptionError(f"LipschitzCNN: expected {len(sizes) - 1} kernel sizes; got {len(kernels)}.")
        layers = [
            LipschitzConv2d(*pair, size, image=shape[1:], lipschitz=per_layer, context_size=context_size)
            for pair, size in zip(pairwise(sizes), kernels, strict=True)
        ]
        super().__init__(layers, activation, order)
        self.shape = shape

    def bind(self, context: Tensor | None) -> Function:
        return _OfImages(super().bind(context), self.shape)


class _OfImages:
    """A function of images as a function of flat states."""

    def __init__(self, function: Function, shape: tuple[int, int, int]) -> None:
        self.function, self.shape = function, shape

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(self._image(x)).flatten(-3)

    def linearize(self, x: Tensor) -> tuple[Tensor, Vjp]:
        value, vjp = self.function.linearize(self._image(x))
        return value.flatten(-3), lambda u: vjp(self._image(u)).flatten(-3)

    def _image(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], *self.shape)


def _bound_per_layer(lipschitz: float, layers: int, where: str) -> float:
    if not 0.0 < lipschitz < 1.0:
        raise OptionError(f"{where}: expected a Lipschitz constant in (0, 1); got {lipschitz:g}.")
    return math.exp(math.log(lipschitz) / layers)
