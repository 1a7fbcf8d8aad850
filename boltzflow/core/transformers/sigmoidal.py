"""Mixtures of sigmoids: the transformer of neural autoregressive flows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional import monotone_root, unit_softplus
from boltzflow.core.transformers.transformer import Transformer
from boltzflow.errors import DomainError, OptionError

_LEAST_SLOPE = 1e-3


class DeepSigmoidal(Transformer):
    """x = logit(Σ_j w_j σ(a_j z + b_j)) on real lines: several steps, and therefore several modes, at any position.

    Huang et al. 2018, arXiv 1804.00779 (NAF, with deep sigmoidal flows; stacked layers make it deep). Σ w_j = 1,
    a_j > 0. Zeros as parameters give the identity. The image of z is a formula; the inverse is a root search of about
    35 evaluations, between the smallest and the largest (x − b_j)/a_j.

    Args:
        domain: d real coordinates, or an array.
        units: number of sigmoids.

    Raises:
        DomainError: if a coordinate is not real.
        OptionError: if there is no unit.

    >>> sigmoidal = DeepSigmoidal(Domain.real(1), units=4)
    >>> sigmoidal(torch.tensor([[-2.0, 3.0]]), torch.zeros(12, 1, 2))[0].round(decimals=5)
    tensor([[-2., 3.]])
    """

    def __init__(self, domain: Domain, *, units: int = 8) -> None:
        if units < 1:
            raise OptionError(f"DeepSigmoidal: expected at least one unit; got {units}.")
        for coordinate in domain:
            if coordinate.kind != "real":
                raise DomainError(f"DeepSigmoidal: expected real coordinates; got {coordinate}.")
        super().__init__(domain, 3 * units)
        self.units = units
        # Identical units would receive identical gradients and never differ, so they get different learning speeds.
        self.constants = Constants(pace=torch.linspace(0.5, 2.0, units, dtype=torch.float64))

    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixture(z, *self._units(parameters))

    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, slope, offset = self._units(parameters)
        # The mixture lies between its extremes, so its root lies between the roots of the single units.
        single = ((x - offset) / slope).detach()
        z = monotone_root(lambda t: self._mixture(t, log_weight, slope, offset), x, single.amin(0), single.amax(0))
        return z, -self._mixture(z, log_weight, slope, offset)[1]

    def select(self, index: Tensor) -> DeepSigmoidal:
        return DeepSigmoidal(self.domain[index.tolist()], units=self.units)

    def _units(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w, a and b, each (units, *S)."""
        weight, slope, offset = parameters.view(3, self.units, *parameters.shape[1:])
        pace = self.constants.pace.to(parameters.dtype).view(-1, *[1] * (parameters.dim() - 1))
        return weight.log_softmax(0), unit_softplus(pace * slope, floor=_LEAST_SLOPE), pace * offset

    @staticmethod
    def _mixture(z: Tensor, log_weight: Tensor, slope: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The logit of the mixture and its log-slope; computed with logarithms, so that no sigmoid saturates."""
        at = slope * z + offset
        on, off = log_weight + logsigmoid(at), log_weight + logsigmoid(-at)
        # Relative to the largest terms, which grow like |z| and would cause a loss of precision in the slope.
        top_on, top_off = on.detach().amax(0), off.detach().amax(0)
        on, off = on - top_on, off - top_off
        log_share, log_rest = torch.logsumexp(on, 0), torch.logsumexp(off, 0)
        log_density = torch.logsumexp(slope.log() + on + off - log_weight, 0)
        return log_share - log_rest + (top_on - top_off), log_density - log_share - log_rest

    def extra_repr(self) -> str:
        return f"units={self.units}"
