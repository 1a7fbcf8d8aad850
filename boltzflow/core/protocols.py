"""What kernels, samplers and objectives ask of a density: any object with these methods will do."""

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
    """What is trained: a `Flow`, or any other module with a flow's `sample` and `log_prob`.

    Samples are differentiable with respect to the parameters, and so is their log q.
    """

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name."""
        ...
