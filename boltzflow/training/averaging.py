"""The moving average of weights, which is often better than the last of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a module's parameters; buffers are not averaged.

    The first steps take a smaller decay, min(decay, (1 + step) / (10 + step)), so that the weights of the start are
    soon forgotten.

    Args:
        module: whose parameters are averaged, from what they are now.
        decay: in a step, from 0 to below 1.

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
        """Take in the present weights, those after `step` earlier ones."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self.tensors.values()], [*self.module.parameters()], 1.0 - decay)

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from the average that a checkpoint keeps."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the module the averaged weights."""
        for name, parameter in self.module.named_parameters():
            parameter.copy_(self.tensors[name])
