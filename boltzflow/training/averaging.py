"""The moving average of network weights, which often performs better than the last weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a module's parameters; buffers are not averaged.

    The first steps use a smaller decay, min(decay, (1 + step) / (10 + step)), so that the initial weights soon lose
    their influence.

    Args:
        module: its parameters are averaged, starting from their present values.
        decay: per step, 0 ≤ decay < 1.

    >>> module = nn.Linear(1, 1)
    >>> average = WeightAverage(module, decay=0.9)
    >>> average.update(step=0)
    >>> sorted(average.tensors)
    ['bias', 'weight']
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the present weights, after `step` earlier updates."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self.tensors.values()], [*self.module.parameters()], 1.0 - decay)

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the average from a checkpoint."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def hand_over(self) -> None:
        """Copy the averaged weights to the module."""
        for name, parameter in self.module.named_parameters():
            parameter.copy_(self.tensors[name])
