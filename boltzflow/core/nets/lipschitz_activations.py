"""Activations of bounded slope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class LipschitzActivation(nn.Module, ABC):
    """An element-wise map h → outer · ψ(inner · h) whose slope is in [−1, 1] and continuous.

    The two scales are separate from ψ so that a net can merge them into the adjacent weights.
    """

    def scales(self) -> tuple[Tensor | float, Tensor | float]:
        """The inner and the outer scale."""
        return 1.0, 1.0

    @abstractmethod
    def value(self, h: Tensor) -> Tensor:
        """ψ, of any shape."""

    @abstractmethod
    def value_and_slope(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """ψ and its derivative."""

    def forward(self, h: Tensor) -> Tensor:
        inner, outer = self.scales()
        return outer * self.value(inner * h)


class LipSwish(LipschitzActivation):
    """h·σ(βh)/1.1 with a learned β > 0, whose slope never exceeds 1 (Chen et al. 2019, arXiv 1906.02735).

    >>> LipSwish()(torch.tensor([-50.0, 0.0, 11.0])).detach().round(decimals=3).tolist()
    [-0.0, 0.0, 10.0]
    """

    def __init__(self) -> None:
        super().__init__()
        # β = softplus(1/2) ≈ 0.97
        self.raw_beta = nn.Parameter(torch.tensor(0.5))

    def scales(self) -> tuple[Tensor, Tensor]:
        beta = F.softplus(self.raw_beta)
        return beta, 1.0 / (1.1 * beta)

    def value(self, h: Tensor) -> Tensor:
        return F.silu(h)

    def value_and_slope(self, h: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = _Swish.apply(h)  # type: ignore[no-untyped-call]
        return value, slope


class _Swish(torch.autograd.Function):
    """h·σ(h) and its derivative; the gradient needs fewer passes over memory than automatic differentiation."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> tuple[Tensor, Tensor]:
        gate = h.sigmoid()
        value = h * gate
        slope = torch.addcmul(value + gate, value, gate, value=-1.0)
        ctx.save_for_backward(gate, value, slope)
        return value, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_value: Tensor, to_slope: Tensor) -> Tensor:
        gate, value, slope = ctx.saved_tensors
        # The second derivative is (1 − σ)(σ + slope − σ · value).
        curvature = (1.0 - gate) * torch.addcmul(gate + slope, gate, value, value=-1.0)
        return torch.addcmul(to_slope * curvature, to_value, slope)


class ELU(LipschitzActivation):
    """h above zero and eʰ − 1 below; the slope is continuous.

    >>> ELU()(torch.tensor([-100.0, 1.0]))
    tensor([-1.,  1.])
    """

    def value(self, h: Tensor) -> Tensor:
        return F.elu(h)

    def value_and_slope(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return F.elu(h), h.clamp(max=0.0).exp()
