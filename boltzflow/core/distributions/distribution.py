"""The interface of densities with exact samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.fingerprint import Fingerprinted


class Density(Protocol):
    """Any object that can be sampled and has a normalised density: a `Distribution` or a `Flow`."""

    @property
    def domain(self) -> Domain:
        """The domain of the samples."""
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
        domain: the domain of the samples.
        log_z: log ∫ exp(log_prob), which is 0, so that a distribution can be used as a target with known
            normalisation.
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
