"""Common arguments and return values of objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from boltzflow.core.flow import Flow
from boltzflow.core.protocols import Model, Target
from boltzflow.errors import IntractableDensityError, UnsupportedCombinationError


@dataclass(frozen=True)
class Loss:
    """The value to minimise, and the log-weights of its samples.

    Attributes:
        value: scalar, differentiable.
        log_weights: (n,) detached log p − log q of the samples, uncapped; −inf for a sample that cannot be
            evaluated, never NaN.
        is_fresh: whether these samples were drawn for this loss, not for an earlier one.
    """

    value: Tensor
    log_weights: Tensor
    is_fresh: bool = True


@dataclass(frozen=True)
class EnergyCap:
    """Limits reduced energies in training: linear up to `linear_until`, logarithmic above, with a continuous slope.

    The slope is never zero, so that clashes still have a restoring gradient. It is used in objectives only, never in
    weights.

    >>> EnergyCap(10.0)(torch.tensor([5.0, 11.0]))
    tensor([ 5.0000, 10.6931])
    """

    linear_until: float

    def __call__(self, energy: Tensor) -> Tensor:
        excess = (energy - self.linear_until).clamp(min=0.0)
        return torch.where(excess > 0.0, self.linear_until + excess.log1p(), energy)


def recorded(log_weights: Tensor) -> Tensor:
    """Log-weights as stored in a `Loss`."""
    log_weights = log_weights.detach()
    return torch.where(log_weights.isfinite(), log_weights, -torch.inf)


def target_log_prob(target: Target, x: Tensor, context: Tensor | None) -> Tensor:
    """log p (batch,) of samples; samples with a non-finite gradient get no gradient.

    An excluded sample would otherwise pass back 0 · ∞ = NaN from the target, which would make the gradients of all
    others NaN. If no sample has a finite gradient, the gradients are not changed, because the target is at fault.
    """
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(_sound_rows)  # type: ignore[no-untyped-call]
    return target.log_prob(x, context)


def _sound_rows(gradient: Tensor) -> Tensor:
    sound = gradient.isfinite().flatten(1).all(1)
    return torch.where((sound | ~sound.any()).view(-1, *[1] * (gradient.dim() - 1)), gradient, 0.0)


def smallest(terms: Tensor, drop_largest: float) -> Tensor:
    """Which terms (n,) an objective keeps: the finite ones, without a fraction of the largest. NaN and ±∞ rank last."""
    finite = terms.isfinite()
    if not drop_largest:
        return finite
    ranked = torch.where(finite, terms, torch.inf).detach()
    return finite & (ranked <= ranked.kthvalue(max(1, round(len(terms) * (1.0 - drop_largest)))).values)


def path_log_prob(flow: Model, x: Tensor, context: Tensor | None, where: str) -> Tensor:
    """log q (batch,) of samples whose gradient reaches the parameters only through x; the score term is omitted.

    Raises:
        UnsupportedCombinationError: if q has no density in closed form, or dropout changes it between sampling and
            evaluation; names the caller `where`.
    """
    _check_no_dropout(flow, where)
    frozen = {f"flow.{name}": parameter.detach() for name, parameter in flow.named_parameters()}
    try:
        log_q: Tensor = torch.func.functional_call(_LogProb(flow), frozen, (x, context))
    except IntractableDensityError as error:
        raise _stochastic(where) from error
    return log_q


def path_log_ratio(
    flow: Model, target: Target, x: Tensor, context: Tensor | None, gradient_limit: float, where: str
) -> Tensor:
    """log p − log q (batch,) of states; the transform's parameters are reached only through z = T⁻¹(x).

    The gradient of each term with respect to z is at most `gradient_limit` times the median over the batch.

    Infinite or NaN outside the flow's domain and where the target is not finite.

    Raises:
        UnsupportedCombinationError: if the model is no `Flow`, or has stochastic layers or dropout in training; names
            the caller `where`.
    """
    _check_no_dropout(flow, where)
    if not isinstance(flow, Flow):
        raise UnsupportedCombinationError(
            f"{where}: expected a Flow, of a base and a transform, for a path gradient; got a {type(flow).__name__}."
        )
    if flow.transform.stochastic_layers:
        raise _stochastic(where)
    z, _, inside = flow.latent(x, context)
    z = _LimitRows.apply(z, gradient_limit)  # type: ignore[no-untyped-call]
    frozen = {name: parameter.detach() for name, parameter in flow.transform.named_parameters()}
    image, log_ratio = torch.func.functional_call(flow.transform, frozen, (z, context))
    log_p = target_log_prob(target, image, context)
    return torch.where(inside, log_p + log_ratio - flow.base.log_prob(z, context), torch.inf)


class _LimitRows(torch.autograd.Function):
    """The identity, whose gradient has rows of at most `limit` times their median norm; those not finite are 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, limit: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.limit = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows = _sound_rows(gradients[0])
        sizes = rows.flatten(1).norm(dim=1)
        most = ctx.limit * sizes.median()
        scale = torch.where(sizes > most, most / sizes, 1.0)
        return rows * scale.view(-1, *[1] * (rows.dim() - 1)), None


def _stochastic(where: str) -> UnsupportedCombinationError:
    return UnsupportedCombinationError(
        f"{where}: expected no stochastic layer for a path gradient, which needs log q(x); got some."
    )


def _check_no_dropout(flow: Model, where: str) -> None:
    if any(isinstance(part, _DropoutNd) and part.training and part.p > 0.0 for part in cast(nn.Module, flow).modules()):
        raise UnsupportedCombinationError(
            f"{where}: expected no dropout in training for a path gradient, which passes through the flow again; "
            "got some."
        )


class _LogProb(nn.Module):
    """A module whose call is a model's `log_prob`, for `torch.func.functional_call`."""

    def __init__(self, flow: Model) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.log_prob(x, context)
