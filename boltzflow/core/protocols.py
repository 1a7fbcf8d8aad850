"""Interfaces of densities for kernels, samplers and objectives; any object with these methods can be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn


class Target(Protocol):
    """An unnormalised density."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,), up to a constant."""
        ...


class Proposal(Target, Protocol):
    """A density with exact samples, such as a `Distribution` or a `Flow`."""

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """n states (n, *shape) and log q (n,)."""
        ...


class Model(Proposal, Protocol):
    """A trainable model: a `Flow`, or any other module with the `sample` and `log_prob` of a flow.

    Samples are differentiable with respect to the parameters, and so is their log q.
    """

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name."""
        ...
