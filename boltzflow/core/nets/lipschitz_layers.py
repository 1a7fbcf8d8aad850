"""Linear layers of bounded norm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boltzflow.core.functional.operator_norm import induced_norm_bound
from boltzflow.core.nets.context import ContextParameter
from boltzflow.errors import OptionError

Number = float | Tensor


class BoundedLinear(ABC):
    """A linear map with its bias, and its transpose."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The map of a batch of inputs."""

    @abstractmethod
    def scaled(self, inner: Number, outer: Number) -> BoundedLinear:
        """The map x → outer · map(inner · x)."""

    @abstractmethod
    def adjoint(self, u: Tensor) -> Tensor:
        """The transposed map, applied to (…, batch, *output shape)."""


class LipschitzLinear(nn.Module):
    """A linear layer whose norm is at most `lipschitz`; a larger weight is scaled down.

    The norm's upper bound is computed in each call (`functional.operator_norm`). It therefore holds for every weight,
    in training and in evaluation, and needs no updates between steps.

    Args:
        in_features, out_features: sizes.
        lipschitz: the bound.
        domain, codomain: orders of the norms of input and output, from 1 to inf.
        context_size: size C of a context that shifts the bias.

    Shapes:
        x (batch, in_features), context (batch, C) → (batch, out_features).

    Raises:
        OptionError: if the bound is not positive, or an order below 1.

    >>> layer = LipschitzLinear(1, 1, lipschitz=0.5)
    >>> _ = nn.init.constant_(layer.weight, 4.0)
    >>> layer(torch.ones(1, 1)) - layer(torch.zeros(1, 1))
    tensor([[0.5000]], grad_fn=<SubBackward0>)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lipschitz: float = 0.97,
        domain: float = 2.0,
        codomain: float = 2.0,
        context_size: int = 0,
    ) -> None:
        super().__init__()
        _check(type(self).__name__, lipschitz, domain, codomain)
        reach = 1.0 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-reach, reach))
        self.bias = ContextParameter(torch.empty(out_features).uniform_(-reach, reach), context_size)
        self.lipschitz = lipschitz
        self.domain, self.codomain = domain, codomain

    def bind(
        self, context: Tensor | None, domain: Number | None = None, codomain: Number | None = None
    ) -> BoundedLinear:
        """The layer as a linear map with bounded weight, optionally for other 1/p and 1/q."""
        begin = 1.0 / self.domain if domain is None else domain
        end = 1.0 / self.codomain if codomain is None else codomain
        norm = induced_norm_bound(self.weight, begin, end, (self.weight.shape[1], self.weight.shape[0]))
        return _Dense(self.weight / (norm / self.lipschitz).clamp(min=1.0), self.bias(context))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bind(context)(x)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features} → {out_features}, lipschitz={self.lipschitz:g}"


class _Dense(BoundedLinear):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.T)

    def scaled(self, inner: Number, outer: Number) -> _Dense:
        return _Dense(self.weight * (inner * outer), self.bias * outer)

    def adjoint(self, u: Tensor) -> Tensor:
        return u @ self.weight


class LipschitzConv2d(nn.Module):
    """A zero-padded convolution with stride 1 whose norm is at most `lipschitz`; see `LipschitzLinear`.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size: odd.
        image: height and width of the images, which affect the bound only if codomain < domain.
        lipschitz, domain, codomain, context_size: see `LipschitzLinear`.

    Shapes:
        x (batch, in_channels, H, W), context (batch, C) → (batch, out_channels, H, W).

    Raises:
        OptionError: if the bound is not positive, an order below 1, or the kernel size even.

    >>> LipschitzConv2d(1, 4, 3, image=(8, 8))(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        image: tuple[int, int],
        lipschitz: float = 0.97,
        domain: float = 2.0,
        codomain: float = 2.0,
        context_size: int = 0,
    ) -> None:
        super().__init__()
        _check(type(self).__name__, lipschitz, domain, codomain)
        if kernel_size % 2 == 0:
            raise OptionError(f"LipschitzConv2d: expected an odd kernel size; got {kernel_size}.")
        reach = 1.0 / math.sqrt(in_channels * kernel_size**2)
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-reach, reach))
        self.bias = ContextParameter(torch.empty(out_channels).uniform_(-reach, reach), context_size)
        self.image = image
        self.lipschitz = lipschitz
        self.domain, self.codomain = domain, codomain

    def bind(
        self, context: Tensor | None, domain: Number | None = None, codomain: Number | None = None
    ) -> BoundedLinear:
        """The layer as a linear map with bounded kernel, optionally for other 1/p and 1/q."""
        begin = 1.0 / self.domain if domain is None else domain
        end = 1.0 / self.codomain if codomain is None else codomain
        pixels = math.prod(self.image)
        sizes = (self.weight.shape[1] * pixels, self.weight.shape[0] * pixels)
        norm = induced_norm_bound(self.weight, begin, end, sizes)
        return _Convolution(self.weight / (norm / self.lipschitz).clamp(min=1.0), self.bias(context))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bind(context)(x)

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.weight.shape
        return f"{in_channels} → {out_channels}, kernel {size}, lipschitz={self.lipschitz:g}"


class _Convolution(BoundedLinear):
    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        self.kernel, self.bias = kernel, bias
        self.padding = kernel.shape[-1] // 2

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=self.padding) + self.bias[..., None, None]

    def scaled(self, inner: Number, outer: Number) -> _Convolution:
        return _Convolution(self.kernel * (inner * outer), self.bias * outer)

    def adjoint(self, u: Tensor) -> Tensor:
        flat = F.conv_transpose2d(u.flatten(0, -4), self.kernel, padding=self.padding)
        return flat.view(*u.shape[:-3], *flat.shape[1:])


def _check(where: str, lipschitz: float, domain: float, codomain: float) -> None:
    if not lipschitz > 0.0:
        raise OptionError(f"{where}: expected a positive Lipschitz constant; got {lipschitz:g}.")
    for order in (domain, codomain):
        if not order >= 1.0:
            raise OptionError(f"{where}: expected norms of order 1 or more; got {order:g}.")
