"""Bernstein polynomials with increasing coefficients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional import unit_softplus
from boltzflow.core.transformers.curve import Curve, CurveTransformer
from boltzflow.errors import OptionError

_LEAST_STEP = 1e-3


class Bernstein(CurveTransformer):
    """Polynomials with increasing Bernstein coefficients: smooth maps, robust to noise in the coefficients.

    Sick et al. 2020, arXiv 2004.00464; as flows: Ramasinghe et al. 2021, arXiv 2102.03509. Zeros as parameters
    give the identity. The image of z is a formula; the inverse is a root search of about 35 evaluations.

    Args:
        domain: d coordinates of any kinds, or an array.
        degree: the degree M of the polynomial; the parameters are the M steps between coefficients.
        bound: real coordinates follow the polynomial within ± bound, and a straight line outside.

    Raises:
        OptionError: if the degree is less than 2, or the bound not positive.

    >>> bernstein = Bernstein(Domain.interval(0.0, 1.0), degree=4)
    >>> bernstein(torch.tensor([[0.25, 0.5]]), torch.zeros(5, 1, 2))[0]
    tensor([[0.2500, 0.5000]])
    """

    def __init__(self, domain: Domain, *, degree: int = 12, bound: float = 5.0) -> None:
        if degree < 2:
            raise OptionError(f"Bernstein: expected a degree of at least 2; got {degree}.")
        super().__init__(domain, degree, bound)
        self.degree = degree
        binomial = torch.tensor([math.comb(degree - 1, k) for k in range(degree)], dtype=torch.float64)
        self.basis = Constants(binomial=binomial)

    def curve(self, parameters: Tensor) -> Curve:
        steps = unit_softplus(parameters, floor=_LEAST_STEP)
        first, last = steps[:1], steps[-1:]
        steps = torch.cat([steps[:-1], torch.where(self.is_circle, first, last)])
        steps = steps / torch.where(self.is_real, float(self.degree), steps.sum(0))
        before = torch.cat([torch.zeros_like(first), steps[:-1].cumsum(0)])
        rows = (-1, *[1] * (parameters.dim() - 1))
        binomial = self.basis.binomial.to(steps.dtype).view(rows)

        def height(at: Tensor) -> tuple[Tensor, Tensor]:
            # The basis of degree M − 1 gives the slope; in it, each term of the height is linear between steps.
            basis = binomial * self._powers(at) * self._powers(1.0 - at).flip(0)
            return (basis * (before + at * steps)).sum(0), (self.degree * (basis * steps).sum(0)).log()

        return height

    def _powers(self, at: Tensor) -> Tensor:
        """at⁰ … at^(M − 1) by products, because derivatives of `pow` are NaN at 0."""
        powers = [torch.ones_like(at)]
        for _ in range(self.degree - 1):
            powers.append(powers[-1] * at)
        return torch.stack(powers)

    def select(self, index: Tensor) -> Bernstein:
        return Bernstein(self.domain[index.tolist()], degree=self.degree, bound=self.bound)
