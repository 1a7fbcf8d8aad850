"""Nets in a lower precision than all else: their matrix products take most of a training step."""

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
        net_dtype: of the net's matrix products; None for that of its weights.
    """

    net_dtype: torch.dtype | None

    def net_precision(self, x: Tensor) -> AbstractContextManager[object]:
        """In this block, and in no other part of the layer, the net of an input `x` is evaluated."""
        return nullcontext() if self.net_dtype is None else torch.autocast(x.device.type, self.net_dtype)


@contextmanager
def nets_in(flow: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """In this block the nets of couplings and autoregressive layers compute in `dtype`.

    Their weights stay as they are, and so do splines, log-densities and whatever else the flow computes. Nets in
    float64 compute in float64.

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
