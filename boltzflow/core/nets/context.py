"""Conditioning of nets and parameters on a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.errors import OptionError, ShapeError


def join_context(inputs: Tensor, context: Tensor | None, size: int, where: str) -> Tensor:
    """Concatenate the inputs of a net with the context: (batch, F) → (batch, F + size).

    Args:
        inputs: (batch, F).
        context: (batch, size), or None if size is 0. If size is 0, the context is ignored.
        size: the declared size of the context; 0 for none.
        where: the name of the caller, for messages.

    Raises:
        OptionError: if a context is expected but missing.
        ShapeError: if it has another shape.
    """
    if not size:
        return inputs
    return torch.cat([inputs, checked_context(context, inputs.shape[0], size, where)], -1)


def checked_context(context: Tensor | None, batch: int, size: int, where: str) -> Tensor:
    """Return the context after checking that it is (batch, size).

    Raises:
        OptionError: if it is missing.
        ShapeError: if it has another shape.
    """
    if context is None:
        raise OptionError(f"{where}: expected a context of size {size}; got none.")
    if tuple(context.shape) != (batch, size):
        raise ShapeError(f"{where}: expected a context of shape ({batch}, {size}); got {tuple(context.shape)}.")
    return context


class ContextParameter(nn.Module):
    """A parameter that may depend on a context: its value plus a linear map of the context, initially zero.

    Args:
        value: the initial value, any shape.
        context_size: size C of the context; 0 for a plain parameter.

    Shapes:
        context (batch, C) or None → (batch, *value.shape), or (1, *value.shape) without a context.

    >>> ContextParameter(torch.ones(2))(None)
    tensor([[1., 1.]], grad_fn=<UnsqueezeBackward0>)
    """

    def __init__(self, value: Tensor, context_size: int = 0) -> None:
        super().__init__()
        self.value = nn.Parameter(value.detach().clone())
        self.context_size = context_size
        if context_size:
            self.weight = nn.Parameter(value.new_zeros(value.numel(), context_size))

    def forward(self, context: Tensor | None) -> Tensor:
        if not self.context_size:
            return self.value[None]
        batch = 0 if context is None else context.shape[0]
        context = checked_context(context, batch, self.context_size, "ContextParameter")
        return self.value + (context @ self.weight.T).view(batch, *self.value.shape)

    def extra_repr(self) -> str:
        tail = f", context_size={self.context_size}" if self.context_size else ""
        return f"{tuple(self.value.shape)}{tail}"
