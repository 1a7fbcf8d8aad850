"""What objectives take and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from boltzflow.core.protocols import Model, Target
from boltzflow.errors import IntractableDensityError, UnsupportedCombinationError


@dataclass(frozen=True)
class Loss:
    """The value to minimise, and what the samples behind it tell.

    Attributes:
        value: scalar, differentiable.
        log_weights: (n,) detached log p − log q of the samples, uncapped; −inf for a sample that cannot be
            evaluated, never NaN.
        is_fresh: whether these samples were drawn for this loss, and not for an earlier one.
    """

    value: Tensor
    log_weights: Tensor
    is_fresh: bool = True


@dataclass(frozen=True)
class EnergyCap:
    """Tames reduced energies for training: linear up to `linear_until`, logarithmic above, slope 1 where they meet.

    Its slope is never zero, so that a clash is still pushed apart. For objectives only: weights never see it.

    >>> EnergyCap(10.0)(torch.tensor([5.0, 11.0]))
    tensor([ 5.0000, 10.6931])
    """

    linear_until: float

    def __call__(self, energy: Tensor) -> Tensor:
        excess = (energy - self.linear_until).clamp(min=0.0)
        return torch.where(excess > 0.0, self.linear_until + excess.log1p(), energy)


def recorded(log_weights: Tensor) -> Tensor:
    """Log-weights as a `Loss` keeps them."""
    log_weights = log_weights.detach()
    return torch.where(log_weights.isfinite(), log_weights, -torch.inf)


def target_log_prob(target: Target, x: Tensor, context: Tensor | None) -> Tensor:
    """log p (batch,) of samples, without the gradients of those at which it is not finite.

    A sample that is left out passes back 0 · ∞ = NaN from inside the target, which would spoil the gradients of all
    others. Where no sample has a finite gradient it is handed on as it is, for then the target is at fault.
    """
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(_sound_rows)  # type: ignore[no-untyped-call]
    return target.log_prob(x, context)


def _sound_rows(gradient: Tensor) -> Tensor:
    sound = gradient.isfinite().flatten(1).all(1)
    return torch.where((sound | ~sound.any()).view(-1, *[1] * (gradient.dim() - 1)), gradient, 0.0)


def path_log_prob(flow: Model, x: Tensor, context: Tensor | None, where: str) -> Tensor:
    """log q (batch,) of samples, whose gradient reaches the parameters through x only: the score term is left out.

    Raises:
        UnsupportedCombinationError: if q has no density in closed form, or dropout makes it another one than that of
            the samples; names `where` it was asked for.
    """
    if any(isinstance(part, _DropoutNd) and part.training and part.p > 0.0 for part in cast(nn.Module, flow).modules()):
        raise UnsupportedCombinationError(
            f"{where}: expected no dropout in training for a path gradient, which needs log q(x) again."
        )
    frozen = {f"flow.{name}": parameter.detach() for name, parameter in flow.named_parameters()}
    try:
        log_q: Tensor = torch.func.functional_call(_LogProb(flow), frozen, (x, context))
    except IntractableDensityError as error:
        raise UnsupportedCombinationError(
            f"{where}: expected no stochastic layer for a path gradient, which needs log q(x)."
        ) from error
    return log_q


class _LogProb(nn.Module):
    """A model's `log_prob` as a call, for `torch.func.functional_call`."""

    def __init__(self, flow: Model) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.log_prob(x, context)
