"""Gathering of atoms whose backward pass is a gather too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Rows(nn.Module):
    """Pick rows of an array (k, n, batch): row i of the output is row `index[i]`.

    The usual backward of indexing adds gradients up by a scatter, which is slow on CPUs and does not
    vectorise. Here the users of every row are tabled once, so that the backward pass gathers as well.

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
        # Row len(index) of the padded gradient is zero: it stands in where a row has fewer users than others.
        gathered = pad(grad, (0, 0, 0, 1)).index_select(1, users.flatten())
        return gathered.reshape(grad.shape[0], *users.shape, grad.shape[2]).sum(2), None, None
