"""What a density with exact samples offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.fingerprint import Fingerprinted


class Density(Protocol):
    """Whatever can be sampled and has a normalised density: a `Distribution`, or a `Flow`."""

    @property
    def domain(self) -> Domain:
        """Where samples live."""
        ...

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """n states (n, *shape) and their log-densities (n,)."""
        ...

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,) of x (batch, *shape)."""
        ...


class Distribution(Fingerprinted, ABC):
    """A normalised density on a `domain`, with exact samples.

    `context` (batch, C) conditions it. A distribution that ignores the context says so in its docstring.

    Attributes:
        domain: where samples live.
        log_z: log ∫ exp(log_prob), which is 0: so a distribution can stand wherever a target with a known
            normalisation can.
    """

    log_z: float = 0.0

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain

    @abstractmethod
    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """n states (n, *shape) and their log-densities (n,)."""

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density (batch,) of x (batch, *shape); −inf outside the domain."""
