"""Integrals of positive functions with unconstrained parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional.quadrature import gauss_legendre
from boltzflow.core.transformers.curve import Curve, CurveTransformer
from boltzflow.errors import OptionError

_NODES = 8  # quadrature nodes in each cell
_STEEPEST = 2.0  # largest change of the exponent from one cell to the next


class UnconstrainedMonotonic(CurveTransformer):
    """The integral of a positive function with unconstrained parameters: smooth maps, also on circles.

    After Wehenkel & Louppe 2019, arXiv 1908.05164 (UMNN). The integrand is exp(c + Σ_j a_j cos ω_j s + b_j sin ω_j s)
    on s in [−1, 1], a hidden layer of sines: ω_j = jπ on circles, jπ/2 elsewhere. All its weights are parameters: each
    coordinate has its own shallow net instead of a deep net shared by all coordinates. Zeros as parameters give the
    identity.

    The integral is a sum over cells, with a Gauss–Legendre rule of eight nodes in each. The derivative of the exponent
    is bounded by two for each cell, so that at the default numbers of units and cells map and log-slope agree to
    10⁻⁹ for all parameter values.

    The image of z costs eight evaluations of the integrand for each cell, the inverse about 300 more.

    Args:
        domain: d coordinates of any kinds, or an array.
        units: number of frequencies.
        cells: number of quadrature cells; the integrand may change by a factor of e² from one to the next.
        bound: real coordinates follow the integral within ± bound, and a straight line outside.

    Raises:
        OptionError: if there is no frequency, or no cell, or the bound is not positive.

    >>> monotonic = UnconstrainedMonotonic(Domain.circle(1), units=4)
    >>> image, log_slope = monotonic(torch.zeros(1, 5), torch.zeros(monotonic.parameter_count, 1, 5))
    """

    def __init__(self, domain: Domain, *, units: int = 6, cells: int = 16, bound: float = 5.0) -> None:
        if units < 1 or cells < 1:
            raise OptionError(
                f"UnconstrainedMonotonic: expected at least one unit and one cell; got {units} and {cells}."
            )
        super().__init__(domain, 2 * units + 1, bound)
        self.units = units
        self.cells = cells
        nodes, weights = gauss_legendre(_NODES)
        edges = torch.arange(cells, dtype=torch.float64) / cells
        self.rule = Constants(
            nodes=nodes / cells, weights=weights / cells, edges=edges, order=torch.arange(1, units + 1)
        )

    def curve(self, parameters: Tensor) -> Curve:
        rows = (-1, *[1] * (parameters.dim() - 1))
        nodes, weights, edges, order = (
            t.to(parameters.dtype).view(rows)
            for t in (self.rule.nodes, self.rule.weights, self.rule.edges, self.rule.order)
        )
        base = math.pi * (1.0 + self.is_circle.to(parameters.dtype))
        cosines, sines = parameters[: self.units], parameters[self.units : 2 * self.units]
        steepest = (order * base * (cosines.abs() + sines.abs())).sum(0)
        damping = 1.0 / (1.0 + steepest / (_STEEPEST * self.cells))
        cosines, sines = cosines * damping, sines * damping

        def exponent(fraction: Tensor) -> Tensor:
            """At fractions (…, *S) of the range; cos and sin of multiples of an angle are computed by rotation."""
            angle = base * fraction
            cos, sin = angle.cos(), angle.sin()
            total, x, y = parameters[-1] + cosines[0] * cos + sines[0] * sin, cos, sin
            for j in range(1, self.units):
                x, y = x * cos - y * sin, y * cos + x * sin
                total = total + cosines[j] * x + sines[j] * y
            return total

        points = (edges[:, None] + nodes).expand(-1, -1, *parameters.shape[1:])
        masses = (weights * exponent(points).exp()).sum(1)
        total = torch.where(self.is_real, 1.0, masses.sum(0))

        def height(at: Tensor) -> tuple[Tensor, Tensor]:
            cell = (at * self.cells).floor().clamp(max=self.cells - 1) / self.cells
            before = torch.where(edges < cell - 0.5 / self.cells, masses, 0.0).sum(0)
            fraction = (at - cell) * self.cells
            part = fraction * (weights * exponent(cell + fraction * nodes).exp()).sum(0)
            return (before + part) / total, exponent(at) - total.log()

        return height

    def select(self, index: Tensor) -> UnconstrainedMonotonic:
        return UnconstrainedMonotonic(self.domain[index.tolist()], units=self.units, cells=self.cells, bound=self.bound)
