"""Invertible residual layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from boltzflow.core.domain import Domain
from boltzflow.core.functional.fixed_point import solve_fixed_point
from boltzflow.core.layer import Bijection
from boltzflow.core.nets.lipschitz import Function, LipschitzNet, Vjp
from boltzflow.errors import DomainError, OptionError

_PROBES_AT_ONCE = 64


@dataclass(frozen=True)
class LogDetEstimator:
    """A random estimate of log|det(1 + J)| = Σₖ (−1)ᵏ⁺¹ tr(Jᵏ)/k: the first terms, then Russian roulette.

    Traces are estimated by vᵀJᵏv with Gaussian v. A later term k is computed with the probability P(N ≥ k) and
    divided by it, so that the estimate is unbiased (Chen et al. 2019, arXiv 1906.02735). Its gradient is also
    unbiased; it uses the Neumann series of (1 + J)⁻¹, which needs the memory of one term.

    The variance is finite if the probability of continuing exceeds the square of J's spectral radius. The tail of
    "poisson" is too short for this, so that its rare long series can dominate if J is large.

    Args:
        exact_terms: number of terms that are always computed.
        roulette: distribution of the number of further terms: "geometric" or "poisson"; None for no further terms,
            which gives a biased estimate (Behrmann et al. 2019, arXiv 1811.00995).
        mean_terms: mean number of further terms.
        probes: number of vectors v for each sample.

    Raises:
        OptionError: if an option is invalid.

    >>> LogDetEstimator(exact_terms=4).survival(2)
    0.25
    """

    exact_terms: int = 2
    roulette: Literal["geometric", "poisson"] | None = "geometric"
    mean_terms: float = 1.0
    probes: int = 1

    def __post_init__(self) -> None:
        if self.exact_terms < 0 or self.probes < 1 or not self.mean_terms > 0.0:
            raise OptionError(
                "LogDetEstimator: expected exact_terms ≥ 0, probes ≥ 1 and mean_terms > 0; got "
                f"{self.exact_terms}, {self.probes} and {self.mean_terms:g}."
            )
        if self.roulette not in ("geometric", "poisson", None):
            raise OptionError(f"LogDetEstimator: expected 'geometric', 'poisson' or None; got {self.roulette!r}.")

    def survival(self, n: int) -> float:
        """The probability of at least n further terms."""
        if self.roulette is None:
            return float(n <= 0)
        if self.roulette == "geometric":
            return (self.mean_terms / (1.0 + self.mean_terms)) ** n
        # P(Poisson ≥ n) is the probability that a Gamma(n) variable is below the mean.
        shape, mean = torch.tensor([float(n), self.mean_terms], dtype=torch.float64)
        return float(torch.special.gammainc(shape, mean)) if n else 1.0

    def draw(self, like: Tensor, generator: torch.Generator | None) -> tuple[list[float], Tensor]:
        """Draw the weights of the terms 1, 2, … to compute, and vectors (probes, *like.shape)."""
        probes = torch.randn(self.probes, *like.shape, dtype=like.dtype, device=like.device, generator=generator)
        further = 0
        if self.roulette is not None:
            device = "cpu" if generator is None else generator.device
            chance = float(torch.rand((), dtype=torch.float64, device=device, generator=generator))
            while self.survival(further + 1) > chance:
                further += 1
        weights = [1.0] * self.exact_terms + [1.0 / self.survival(n) for n in range(1, further + 1)]
        return weights, probes

    def __call__(self, vjp: Vjp, weights: list[float], probes: Tensor) -> Tensor:
        """The estimate (batch,) from the map u → uᵀJ and the result of `draw`."""
        row = neumann = probes
        value = probes.new_zeros(probes.shape[1])
        with torch.no_grad():
            for k, weight in enumerate(weights, start=1):
                row = vjp(row)
                value = value - (-1) ** k * weight / k * (row * probes).sum(-1).mean(0)
                neumann = neumann + (-1) ** k * weight * row
        if not torch.is_grad_enabled():
            return value
        # Only its gradient is used, that of log|det|: vᵀ(1 + J)⁻¹ ∂J v.
        surrogate = (vjp(neumann) * probes).sum(-1).mean(0)
        return value + surrogate - surrogate.detach()


class Residual(Bijection):
    """A residual layer: z = x + g(x), with a net g of Lipschitz constant below 1.

    Data to latent, and therefore the density of data, takes one pass through the net. Latent to data solves a
    fixed-point equation to the precision of the dtype. Use `Inverse` if samples are needed more often. Gradients of the
    solution come from the implicit function theorem. Behrmann et al. 2019, arXiv 1811.00995; Chen et al. 2019,
    arXiv 1906.02735.

    The log-determinant is exact by default; its cost grows with D, because it needs the net's D × D Jacobian. In high
    dimension an `estimator` can replace it. An estimate is suitable for stochastic gradients, but not for densities or
    weights. It is therefore used only if the layer is in training mode *and* gradients are recorded. In evaluation
    mode, and under ``torch.no_grad()``, log-ratios are always exact.

    Args:
        domain: real, of any shape with D numbers.
        net: a `LipschitzNet` (batch, D) → (batch, D); it gets the context.
        estimator: estimates the log-determinant in training; None for the exact one.
        checkpoint: whether the explicit direction stores only its inputs and is recomputed for the gradient: less
            memory, more time.

    Raises:
        DomainError: if a coordinate is not real.
        ConvergenceError: in `forward`, if the fixed point is not found, because the net is not a contraction.

    >>> from boltzflow.core import nets
    >>> layer = Residual(Domain.real(2), nets.LipschitzMLP(2, (32, 32)))
    >>> layer.inverse(torch.zeros(3, 2))[1].tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        domain: Domain,
        net: LipschitzNet,
        *,
        estimator: LogDetEstimator | None = None,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(domain, domain)
        for coordinate in domain:
            if coordinate.kind != "real":
                raise DomainError(f"Residual: expected real coordinates only; got {coordinate}.")
        self.net = net
        self.estimator = estimator
        self.checkpoint = checkpoint

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        function = self.net.bind(context)
        flat = z.flatten(1)
        x = solve_fixed_point(function, flat, "Residual")
        if torch.is_grad_enabled():
            value, vjp = function.linearize(x)
            x = _FixedPoint.apply(flat - value, vjp)  # type: ignore[no-untyped-call]
        _, log_det = self._evaluate(function, x, self._draw(x, generator))
        return x.view(z.shape), -log_det

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)
        draw = self._draw(flat, generator)

        def explicit(flat: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            return self._evaluate(self.net.bind(context), flat, draw)

        if self.checkpoint and torch.is_grad_enabled():
            value, log_det = checkpoint(explicit, flat, context, use_reentrant=False, preserve_rng_state=False)
        else:
            value, log_det = explicit(flat, context)
        return (flat + value).view(x.shape), log_det

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """The explicit direction, unless estimated, because every length of the series would trigger a compilation."""
        return ("inverse",) if self.estimator is None and not self.checkpoint else ()

    def _draw(self, x: Tensor, generator: torch.Generator | None) -> tuple[list[float], Tensor] | None:
        """The random numbers of an estimate, or None if the log-determinant is exact."""
        if self.estimator is None or not self.training or not torch.is_grad_enabled():
            return None
        return self.estimator.draw(x, generator)

    def _evaluate(
        self, function: Function, x: Tensor, draw: tuple[list[float], Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """g(x) and log|det(1 + J)|."""
        value, vjp = function.linearize(x)
        if self.estimator is not None and draw is not None:
            return value, self.estimator(vjp, *draw)
        size = x.shape[1]
        units = torch.eye(size, dtype=x.dtype, device=x.device)[:, None]
        rows = torch.cat([vjp(part).expand(-1, *x.shape) for part in torch.split(units, _PROBES_AT_ONCE)])
        return value, _log_det_one_plus(rows.transpose(0, 1))


class _FixedPoint(torch.autograd.Function):
    """Returns a solution x of x + g(x) = z; the backward pass solves for (1 + J)⁻ᵀ times the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, vjp: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.vjp = vjp
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # Scaled to order one, because below that the solver's accuracy is absolute.
        size = grad.abs().amax(1, keepdim=True).clamp(min=torch.finfo(grad.dtype).tiny)
        return size * solve_fixed_point(ctx.vjp, grad / size, "Gradient of Residual"), None


def _log_det_one_plus(jacobian: Tensor) -> Tensor:
    """log|det(1 + J)| (batch,) of J (batch, D, D)."""
    size = jacobian.shape[-1]
    if size == 1:
        return jacobian[:, 0, 0].log1p()
    if size == 2:
        a, b, c, d = jacobian.flatten(1).unbind(1)
        return (a + d + (a * d - b * c)).log1p()
    one = torch.eye(size, dtype=jacobian.dtype, device=jacobian.device)
    out: Tensor = torch.linalg.slogdet(one + jacobian)[1]
    return out
