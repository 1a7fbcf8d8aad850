"""A linear layer whose result has the batch last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def linear_rows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """weight · xᵀ + bias, written with the batch last at once.

    The gradient keeps x itself. Automatic differentiation would keep a transposed view of it, and a compiler
    then stores the activation's mask beside it, which takes longer than the activation.

    Under `torch.autocast` the product of float32 numbers is that of the lower precision, and comes back as float32:
    it is the last layer of a net, and what is made of it is not to lose digits.

    Args:
        x: (batch, n).
        weight: (m, n).
        bias: (m,).

    Returns:
        (m, batch).
    """
    if weight.dtype == torch.float32 and torch.is_autocast_enabled(weight.device.type):
        dtype = torch.get_autocast_dtype(weight.device.type)
        low: Tensor = _LinearRows.apply(x.to(dtype), weight.to(dtype), bias.to(dtype))  # type: ignore[no-untyped-call]
        return low.to(torch.float32)
    out: Tensor = _LinearRows.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _LinearRows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.addmm(bias[:, None], weight, x.T)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grads[0].T @ weight, grads[0] @ x, grads[0].sum(1)
