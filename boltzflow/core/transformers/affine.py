"""Affine maps: a scale and a shift."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain, wrap
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import DomainError, OptionError

Scale = Literal["additive", "exp", "sigmoid", "inverse_sigmoid", "tanh"]
"""The scale from a raw number s: 1 (volume-preserving), eˢ, σ(s + 2) + 10⁻³, its reciprocal, or e^(2·tanh(s/2))."""

_SIGMOID_SHIFT, _SIGMOID_FLOOR = 2.0, 1e-3
_TANH_BOUND = 2.0


class Affine(Transformer):
    """x = scale · z + shift on real lines; on circles only the shift, modulo the circumference.

    Additive: Dinh et al. 2014, arXiv 1410.8516 (NICE); exp: Dinh et al. 2016, arXiv 1605.08803 (RealNVP);
    sigmoid, with bounded scales that are initially 0.88 instead of 1: Kingma & Dhariwal 2018, arXiv 1807.03039
    (Glow). Scales of exp are not bounded. Far outside the training data of a deep flow they overflow, and the density
    is NaN there; a single outlier in the data is enough. Those of tanh agree with exp near 1 and are between e⁻² and e²
    (Dinh et al. 2016 use a tanh too).

    The state dict contains the name of the scale, and loading adopts it. Older state dicts without this name are loaded
    with exp if tanh is expected, because exp was the recipes' default.

    Args:
        domain: real coordinates and circles, or an array.
        scale: the scale as a function of a raw number, see `Scale`.

    Raises:
        DomainError: if a coordinate is an interval.
        OptionError: if the scale is unknown.

    >>> affine = Affine(Domain.real(1))
    >>> affine(torch.zeros(1, 4), torch.ones(2, 1, 4))[0]
    tensor([[1., 1., 1., 1.]])
    """

    def __init__(self, domain: Domain, scale: Scale = "exp") -> None:
        if scale not in get_args(Scale):
            raise OptionError(f"Affine: expected one of the scales {', '.join(get_args(Scale))}; got {scale!r}.")
        if found := domain.indices("interval"):
            where = domain.coordinates[found[0]]
            raise DomainError(f"Affine: expected real coordinates or circles; got {where}.")
        super().__init__(domain, 1 if scale == "additive" else 2)
        self.scale = scale
        self.has_circles = bool(domain.indices("circle"))
        if self.has_circles:
            like = torch.empty(0, dtype=torch.float64)
            self.constants = Constants(low=domain.lows(like)[:, None], high=domain.highs(like)[:, None])

    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(z, parameters)
        return self._wrap(z * log_scale.exp() + parameters[0]), log_scale

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(x, parameters)
        return self._wrap((x - parameters[0]) * (-log_scale).exp()), -log_scale

    def select(self, index: Tensor) -> Affine:
        return Affine(self.domain[index.tolist()], self.scale)

    def _log_scale(self, x: Tensor, parameters: Tensor) -> Tensor:
        if self.scale == "additive":
            return torch.zeros_like(x)
        raw = parameters[1]
        if self.scale == "exp":
            log_scale = raw
        elif self.scale == "tanh":
            log_scale = _TANH_BOUND * (raw / _TANH_BOUND).tanh()
        else:
            log_scale = torch.logaddexp(logsigmoid(raw + _SIGMOID_SHIFT), raw.new_tensor(_SIGMOID_FLOOR).log())
            log_scale = log_scale if self.scale == "sigmoid" else -log_scale
        return torch.where(self.constants.low.isfinite(), 0.0, log_scale) if self.has_circles else log_scale

    def _wrap(self, x: Tensor) -> Tensor:
        if not self.has_circles:
            return x
        circle = self.constants.low.isfinite()
        low = torch.where(circle, self.constants.low, 0.0).to(x.dtype)
        high = torch.where(circle, self.constants.high, 1.0).to(x.dtype)
        return torch.where(circle, wrap(x, low, high), x)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.scale != "additive":  # additive is identified by its number of parameters
            destination[prefix + "scale"] = torch.tensor(get_args(Scale).index(self.scale))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        found = state_dict.get(prefix + "scale")
        if self.scale == "additive":
            return
        if found is not None:
            self.scale = get_args(Scale)[int(found)]
            if prefix + "scale" in unexpected_keys:
                unexpected_keys.remove(prefix + "scale")
        elif strict and self.scale == "tanh":  # if not strict, the state dict may contain nothing of this layer
            self.scale = "exp"

    def extra_repr(self) -> str:
        return f"scale={self.scale!r}"
