"""Continuous normalizing flows: states transported by a velocity field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.core.layers.coupling import MakeNet
from boltzflow.core.nets import MLP, join_context
from boltzflow.errors import DomainError, MissingDependencyError, OptionError

Trace = Literal["exact", "hutchinson"]
"""How the divergence of the velocity is computed."""

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-6}


class ContinuousFlow(Bijection):
    """The solution of dx/dt = v(x, t) from t = 0 (latent) to 1 (data), on real lines and circles.

    Chen et al. 2018, arXiv 1806.07366; Grathwohl et al. 2018, arXiv 1810.01367 (FFJORD). The net needs no mask, order
    or constraint. Each direction costs one solution by an adaptive Runge–Kutta method (Dormand & Prince 1980), some
    tens of evaluations of v. The log-ratio is the integral of the divergence. Unlike other layers, the accuracy is that
    of the solver's tolerance, which applies to a batch as a whole, and not that of rounding.

    The exact divergence costs D derivatives of the net along coordinates. In training mode, ``"hutchinson"`` replaces
    it by an unbiased estimate from one random direction for each sample (Hutchinson 1989), suitable for maximum
    likelihood. Its log-ratios are random, so they must not be used in importance weights. In evaluation mode the
    divergence is always exact.

    Needs torchdiffeq: ``pip install boltzflow[ode]``.

    Args:
        domain: flat, of D real coordinates and circles.
        conditioner: the conditioner network: builds the net of v (without its last linear layer) from the number of its
            inputs, which are the domain's features, the time and the context. By default an `MLP` with two hidden
            layers of 64. It must be smooth, as the solver requires: no ReLU.
        trace: ``"exact"`` or ``"hutchinson"``.
        adjoint: whether gradients are computed by solving backward in time, which needs constant memory but is accurate
            only to the solver's tolerance, instead of backpropagation through all steps of the solver.
        tolerance: relative and absolute, of the solver; None for 10⁻⁶ in single and 10⁻⁹ in double precision.
        context_size: size of the context that v is conditioned on; 0 means that the context is ignored.

    Raises:
        DomainError: if the domain is an array, or a coordinate is an interval, whose edges a velocity could cross.
        OptionError: if the trace is unknown or the tolerance is not positive.
        MissingDependencyError: if torchdiffeq is not installed.

    >>> layer = ContinuousFlow(Domain.real(1) + Domain.circle(1))
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    def __init__(
        self,
        domain: Domain,
        *,
        conditioner: MakeNet | None = None,
        trace: Trace = "exact",
        adjoint: bool = False,
        tolerance: float | None = None,
        context_size: int = 0,
    ) -> None:
        if len(domain.shape) != 1:
            raise DomainError(f"ContinuousFlow: expected a flat domain; got {domain}.")
        if found := domain.indices("interval"):
            raise DomainError(
                f"ContinuousFlow: expected real coordinates or circles; got {domain.coordinates[found[0]]}."
            )
        if trace not in get_args(Trace):
            traces = ", ".join(get_args(Trace))
            raise OptionError(f"ContinuousFlow: expected one of the traces {traces}; got {trace!r}.")
        if tolerance is not None and not tolerance > 0.0:
            raise OptionError(f"ContinuousFlow: expected a positive tolerance; got {tolerance:g}.")
        super().__init__(domain, domain)
        self.solver = _solver(adjoint)
        self.trace = trace
        self.adjoint = adjoint
        self.tolerance = tolerance
        self.velocity = Velocity(domain, conditioner, context_size)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._solve(z, context, (0.0, 1.0), generator)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._solve(x, context, (1.0, 0.0), generator)

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """None, because the number of steps of an adaptive solver depends on the states."""
        return ()

    def _solve(
        self, x: Tensor, context: Tensor | None, times: tuple[float, float], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if not len(x):  # the solver cannot choose a step size for an empty batch
            return x, x.new_zeros(0)
        noise = None
        if self.trace == "hutchinson" and self.training:
            # One direction for the whole path, because the right-hand side must not change during the solution.
            uniform = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
            noise = torch.where(uniform < 0.5, -1.0, 1.0).to(x.dtype)

        def slope(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return _with_divergence(lambda at: self.velocity(at, t, context), state[0], noise)

        tolerance = _TOLERANCE.get(x.dtype, 1e-6) if self.tolerance is None else self.tolerance
        options: dict[str, Any] = {"rtol": tolerance, "atol": tolerance, "method": "dopri5"}
        if self.adjoint:
            options["adjoint_params"] = (*self.velocity.parameters(), *(() if context is None else (context,)))
        path, log_ratio = self.solver(slope, (x, x.new_zeros(x.shape[0])), x.new_tensor(times), **options)
        return self.data_domain.wrap(path[-1]), log_ratio[-1]

    def extra_repr(self) -> str:
        return f"trace={self.trace!r}, adjoint={self.adjoint}"


class Velocity(nn.Module):
    """A net v(x, t, context), initially zero; on circles it is periodic and in units of half the circumference.

    Args:
        domain: flat, of D coordinates.
        conditioner, context_size: as in `ContinuousFlow`.
    """

    def __init__(self, domain: Domain, conditioner: MakeNet | None, context_size: int) -> None:
        super().__init__()
        self.domain = domain
        self.context_size = context_size
        scale, _ = domain.standard_map(torch.empty(0, dtype=torch.float64))
        self.constants = Constants(unit=1.0 / scale)
        make = conditioner if conditioner is not None else (lambda inputs: MLP(inputs, (64, 64)))
        self.trunk = make(domain.feature_size + 1 + context_size)
        self.head = nn.Linear(int(self.trunk.out_features), len(domain))  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """x (batch, D), t () → the velocity (batch, D) in the domain's units."""
        inputs = torch.cat([self.domain.features(x), t.expand(x.shape[0], 1)], 1)
        inputs = join_context(inputs, context, self.context_size, "ContinuousFlow")
        out: Tensor = self.head(self.trunk(inputs)) * self.constants.unit.to(x.dtype)
        return out


def _with_divergence(velocity: Callable[[Tensor], Tensor], x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """v (batch, D), and its divergence (batch,), or noise·∂v/∂x·noise, by reverse-mode differentiation."""
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if differentiable and x.requires_grad else x.detach().requires_grad_()
        value = velocity(x)
        divergence = x.new_zeros(x.shape[0])
        # Samples are independent, so each derivative is computed for the whole batch.
        for direction in [noise] if noise is not None else torch.eye(x.shape[1], dtype=x.dtype, device=x.device):
            row = (value * direction).sum()
            (gradient,) = torch.autograd.grad(row, x, retain_graph=True, create_graph=differentiable)
            divergence = divergence + (gradient * direction).sum(1)
    return (value, divergence) if differentiable else (value.detach(), divergence)


def _solver(adjoint: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    try:
        import torchdiffeq
    except ImportError as error:
        raise MissingDependencyError(
            "ContinuousFlow: expected the package torchdiffeq, which is not installed; install boltzflow[ode]."
        ) from error
    solver: Callable[..., tuple[Tensor, Tensor]] = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
    return solver
