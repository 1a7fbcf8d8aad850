"""The optimisers for training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from boltzflow.core.compilation import load_compiler
from boltzflow.training.options import Optimizer
from boltzflow.training.soap import SOAP


def make_optimizer(name: Optimizer, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """An optimiser by its name in `TrainingOptions`."""
    load_compiler()
    if name == "soap":
        return SOAP(parameters, lr=learning_rate)
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
