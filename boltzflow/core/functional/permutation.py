"""Reordering of rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def permute_rows(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Rows of x (D, …) in another order: row i of the result is row ``order[i]``.

    Unlike indexing, whose gradient is a scatter with atomic additions, this has a gather as its gradient.

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
