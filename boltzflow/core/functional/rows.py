"""Operations on arrays of rows with the batch last (permutation, selection, linear layer), with gathers as gradients.

The default gradient of indexing is a scatter with atomic additions, which is slow on CPUs and does not vectorise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def permute_rows(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Rows of x (D, …) in another order: row i of the result is row ``order[i]``.

    Args:
        x: (D, …).
        order: a permutation (D,).
        inverse: ``order.argsort()``.
    """
    out: Tensor = _PermuteRows.apply(x, order, inverse)  # type: ignore[no-untyped-call]
    return out


class _PermuteRows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _, order, inverse = inputs
        ctx.save_for_backward(order, inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return permute_rows(grads[0], inverse, order), None, None


class Rows(nn.Module):
    """Select rows of an array (k, n, batch): row i of the output is row `index[i]`.

    The outputs that use each row are tabulated once, so that the backward pass is a gather too.

    Args:
        index: the row to pick for each row of the output.
        n: the number of rows to pick from.
    """

    index: Tensor
    users: Tensor

    def __init__(self, index: Sequence[int], n: int) -> None:
        super().__init__()
        users: list[list[int]] = [[] for _ in range(n)]
        for place, row in enumerate(index):
            users[row].append(place)
        width = max(map(len, users), default=0)
        table = [[*u, *[len(index)] * (width - len(u))] for u in users]
        self.register_buffer("index", torch.tensor(index, dtype=torch.long), persistent=False)
        self.register_buffer("users", torch.tensor(table, dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (k, n, batch) → (k, len(index), batch)."""
        picked: Tensor = _Pick.apply(x, self.index, self.users)  # type: ignore[no-untyped-call]
        return picked


class _Pick(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, index: Tensor, users: Tensor) -> Tensor:  # users: for the backward pass
        return x.index_select(1, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (users,) = ctx.saved_tensors
        # Row len(index) of the padded gradient is zero: padding for rows with fewer users than others.
        gathered = pad(grad, (0, 0, 0, 1)).index_select(1, users.flatten())
        return gathered.reshape(grad.shape[0], *users.shape, grad.shape[2]).sum(2), None, None


def linear_rows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """weight · xᵀ + bias, computed with the batch last.

    The gradient stores x itself. Automatic differentiation would store a transposed view of x, and a compiler would
    then store the activation's mask too, which takes longer than the activation.

    Under `torch.autocast` the product of float32 numbers is computed in the lower precision, and returned as float32:
    this is the last layer of a net, and later operations need full precision.

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
