"""Nets in a lower precision than the rest of a flow; their matrix products dominate the time of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]
"""Of the nets' matrix products; "float32" stands for that of their weights."""


class HasNet:
    """A layer whose parameters come from a net, which may compute in a lower precision.

    Attributes:
        net_dtype: the dtype of the net's matrix products; None for that of its weights.
    """

    net_dtype: torch.dtype | None

    def net_precision(self, x: Tensor) -> AbstractContextManager[object]:
        """The context in which only the net of the layer is evaluated, for an input `x`."""
        return nullcontext() if self.net_dtype is None else torch.autocast(x.device.type, self.net_dtype)


@contextmanager
def nets_in(flow: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """A context in which the nets of couplings and autoregressive layers compute in `dtype`.

    The dtype of their weights does not change, nor that of splines, log-densities and all other computations. Nets in
    float64 always compute in float64.

    Args:
        flow: a flow or a layer.
        dtype: such as `torch.bfloat16`; None for that of the weights.

    >>> from boltzflow.core import Domain, recipes
    >>> flow = recipes.spline_flow(Domain.circle(2), layers=2, hidden=(16,))
    >>> with nets_in(flow, torch.bfloat16):
    ...     x, log_q = flow.sample(4)
    >>> x.dtype, log_q.dtype
    (torch.float32, torch.float32)
    """
    layers = [part for part in flow.modules() if isinstance(part, HasNet)]
    before = [layer.net_dtype for layer in layers]
    for layer in layers:
        layer.net_dtype = dtype
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.net_dtype = own
