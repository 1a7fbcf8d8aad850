"""The parameters of distributions: fixed, learned, or dependent on a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.core.nets import ContextParameter
from boltzflow.errors import ShapeError


class FixedParameter(nn.Module):
    """A value that is part of the state dict but not learned; it is called like a `ContextParameter`.

    Args:
        value: any shape.

    >>> FixedParameter(torch.ones(2))(None)
    tensor([[1., 1.]])
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self, context: Tensor | None) -> Tensor:
        return self.value[None]


def make_parameter(value: Tensor, trainable: bool, context_size: int) -> nn.Module:
    """A module that returns (batch or 1, *value.shape) for a context; with a context it is always learned."""
    value = value.to(torch.get_default_dtype())
    return ContextParameter(value, context_size) if trainable or context_size else FixedParameter(value)


def check_broadcasts(value: Tensor, shape: tuple[int, ...], name: str, where: str) -> None:
    """Check that `value` broadcasts to `shape` without enlarging it.

    Raises:
        ShapeError: if it does not; gives the name, the expected shape and the actual shape.
    """
    fits = value.dim() <= len(shape) and all(
        v in (1, s) for v, s in zip(reversed(value.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ShapeError(f"{where}: expected a {name} that broadcasts to {shape}; got {tuple(value.shape)}.")


def check_rows(rows: int, n: int, where: str) -> None:
    """Check that the context has one row for each of n samples, or a single row.

    Raises:
        ShapeError: if it has another number of rows, which would give correlated samples or none.
    """
    if rows not in (1, n):
        raise ShapeError(f"{where}: expected a context with a row for each of {n} samples; got {rows} rows.")
