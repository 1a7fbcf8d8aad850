"""Encoders and decoders of variational autoencoders that are not densities in the usual sense."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from boltzflow.core.distributions.distribution import Distribution
from boltzflow.core.distributions.parameter import check_rows
from boltzflow.core.domain import Domain
from boltzflow.errors import OptionError, ShapeError


class Dirac(Distribution):
    """A point mass at the context: an encoder that returns its input. Its log-probability at this point is 0.

    Args:
        domain: the domain of the point, D coordinates of any event shape.

    Raises:
        OptionError: if the context is missing.
        ShapeError: if the context does not have D numbers for each state.

    >>> Dirac(Domain.real(2)).sample(1, torch.tensor([[3.0, 4.0]]))
    (tensor([[3., 4.]]), tensor([0.]))
    """

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x = self._point(context)
        check_rows(len(x), n, "Dirac")
        return x.expand(n, *self.domain.shape), x.new_zeros(n)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "Dirac")
        there = (x == self._point(context)).flatten(1).all(1)
        return torch.where(there, 0.0, -torch.inf).to(x.dtype)

    def _point(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise OptionError("Dirac: expected a context; got none.")
        if (size := math.prod(context.shape[1:])) != len(self.domain):
            raise ShapeError(f"Dirac: expected {len(self.domain)} numbers for each state; got {size}.")
        return context.reshape(len(context), *self.domain.shape)


class ConditionalBernoulli(Distribution):
    """Independent bits whose logits a net computes from the context: the decoder of binary images.

    `log_prob` is the log of a probability, not of a density. It is −inf for states that are not all 0 or 1, so grey
    images must be binarised first.

    Args:
        domain: real, D coordinates of any event shape.
        net: context (batch, …) → logits (batch, D).

    Raises:
        OptionError: if the context is missing.
        ShapeError: if the net does not return D logits for each state.

    >>> decoder = ConditionalBernoulli(Domain.real((1, 8, 8)), nn.Linear(2, 64))
    >>> x, log_prob = decoder.sample(5, torch.randn(5, 2))
    >>> x.shape, bool((log_prob < 0).all())
    (torch.Size([5, 1, 8, 8]), True)
    """

    def __init__(self, domain: Domain, net: nn.Module) -> None:
        super().__init__(domain)
        self.net = net

    def logits(self, context: Tensor | None) -> Tensor:
        """Logits (batch, *shape) of the ones."""
        if context is None:
            raise OptionError("ConditionalBernoulli: expected a context; got none.")
        out: Tensor = self.net(context)
        if tuple(out.shape) != (context.shape[0], len(self.domain)):
            raise ShapeError(
                f"ConditionalBernoulli: expected the net to return ({context.shape[0]}, {len(self.domain)}); got "
                f"{tuple(out.shape)}."
            )
        return out.view(len(out), *self.domain.shape)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        logits = self.logits(context)
        check_rows(len(logits), n, "ConditionalBernoulli")
        logits = logits.expand(n, *self.domain.shape)
        chance = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
        x = (chance < logits.sigmoid()).to(logits.dtype)
        return x, self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "ConditionalBernoulli")
        binary = ((x == 0) | (x == 1)).flatten(1).all(1)
        each = -softplus((1.0 - 2.0 * x) * self.logits(context))
        return torch.where(binary, each.flatten(1).sum(1), -torch.inf)
