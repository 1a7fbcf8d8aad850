"""Constants of a module that keep double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Constants(nn.Module):
    """Named float64 tensors that follow the module's device, but not its dtype.

    Otherwise a bound such as π would be rounded when a model is cast to single precision, and would remain rounded
    after a cast back to double precision. Cast at the point of use: ``constants.low.to(x.dtype)``. Not part of the
    state dict.

    >>> nn.Sequential(Constants(pi=torch.tensor(torch.pi, dtype=torch.float64))).float()[0].pi.dtype
    torch.float64
    """

    def __init__(self, **values: Tensor) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, value.detach().to(torch.float64), persistent=False)

    def __getattr__(self, name: str) -> Tensor:
        value: Tensor = super().__getattr__(name)  # type: ignore[assignment]
        return value

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Constants:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            moved = self._buffers[name]
            if value is not None and moved is not None:
                self._buffers[name] = value.to(moved.device)
        return self
