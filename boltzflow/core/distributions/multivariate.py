"""Normal densities with correlated coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.distributions.normal import LOG_SQRT_2PI, Normal
from boltzflow.core.distributions.parameter import check_broadcasts, make_parameter
from boltzflow.core.domain import Domain
from boltzflow.errors import OptionError, ShapeError


class FullNormal(Normal):
    """A normal density with any covariance LLᵀ, learned as the lower triangle of L with the log of its diagonal.

    Args:
        domain: real, D coordinates of any event shape.
        location: broadcasts to the event shape; by default 0.
        covariance: (D, D) symmetric and positive definite; by default the unit matrix.
        trainable: whether location and covariance are learned; they always are with a context.
        context_size: size of the context on which location and L depend; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        ShapeError: if the location does not broadcast, or the covariance is not (D, D).
        OptionError: if the covariance is not positive definite.

    >>> base = FullNormal(Domain.real(2), covariance=torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    >>> base.log_prob(torch.zeros(1, 2))
    tensor([-1.6940])
    """

    def __init__(
        self,
        domain: Domain,
        location: Tensor | None = None,
        covariance: Tensor | None = None,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__(domain)
        size = len(domain)
        location = torch.zeros(domain.shape) if location is None else location
        check_broadcasts(location, domain.shape, "location", "FullNormal")
        covariance = torch.eye(size) if covariance is None else covariance
        if tuple(covariance.shape) != (size, size):
            raise ShapeError(f"FullNormal: expected a covariance ({size}, {size}); got {tuple(covariance.shape)}.")
        triangle, failed = torch.linalg.cholesky_ex(covariance.double())
        if failed or not torch.allclose(covariance, covariance.T):
            raise OptionError("FullNormal: expected a symmetric, positive definite covariance; got another matrix.")
        self.location = make_parameter(location, trainable, context_size)
        factor = triangle.tril(-1) + triangle.diagonal().log().diag()
        self.factor = make_parameter(factor, trainable, context_size)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        triangle, log_diagonal = self._triangle(context)
        noise = torch.randn(n, len(self.domain), dtype=triangle.dtype, device=triangle.device, generator=generator)
        x = self.location(context) + (triangle @ noise[..., None]).view(n, *self.domain.shape)
        return x, _log_standard(noise) - log_diagonal.sum(-1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "FullNormal")
        triangle, log_diagonal = self._triangle(context)
        offset = (x - self.location(context)).flatten(1)
        if triangle.shape[0] == 1:  # one matrix for all states: one solve with many right-hand sides
            noise = torch.linalg.solve_triangular(triangle[0], offset.T, upper=False).T
        else:
            noise = torch.linalg.solve_triangular(triangle, offset[..., None], upper=False)[..., 0]
        return _log_standard(noise) - log_diagonal.sum(-1)

    def _triangle(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """T·L (batch or 1, D, D), and the log of its diagonal (batch or 1, D)."""
        factor = self.factor(context)
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1) + math.log(self.temperature)
        return self.temperature * factor.tril(-1) + torch.diag_embed(log_diagonal.exp()), log_diagonal


class PCANormal(Normal):
    """N(location, WWᵀ + σ²I): k directions of large variance, the same small variance in all others.

    Probabilistic principal components (Tipping & Bishop 1999, DOI 10.1111/1467-9868.00196). The cost is proportional
    to D·k: no D × D matrix is formed.

    Args:
        domain: real, D coordinates of any event shape.
        weight: W (D, k).
        sigma: σ, positive.
        location: broadcasts to the event shape; by default 0.
        trainable: whether location, W and σ are learned; they always are with a context.
        context_size: size of the context on which location, W and log σ depend linearly; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        ShapeError: if W does not have D rows, or the location does not broadcast.
        OptionError: if σ is not positive.

    >>> base = PCANormal(Domain.real(3), weight=torch.tensor([[1.0], [0.0], [0.0]]), sigma=0.1)
    >>> base.sample(5)[0].shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        domain: Domain,
        weight: Tensor,
        sigma: float = 0.1,
        location: Tensor | None = None,
        *,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__(domain)
        location = torch.zeros(domain.shape) if location is None else location
        check_broadcasts(location, domain.shape, "location", "PCANormal")
        if weight.dim() != 2 or len(weight) != len(domain):
            raise ShapeError(f"PCANormal: expected a weight ({len(domain)}, k); got {tuple(weight.shape)}.")
        if not sigma > 0.0:
            raise OptionError(f"PCANormal: expected a positive sigma; got {sigma:g}.")
        self.location = make_parameter(location, trainable, context_size)
        self.weight = make_parameter(weight, trainable, context_size)
        self.log_sigma = make_parameter(torch.tensor(math.log(sigma)), trainable, context_size)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        weight, sigma = self._spread(context)
        size, k = weight.shape[1:]
        noise = torch.randn(n, k + size, dtype=weight.dtype, device=weight.device, generator=generator)
        offset = (weight @ noise[:, :k, None])[..., 0] + sigma[:, None] * noise[:, k:]
        x = self.location(context) + offset.view(n, *self.domain.shape)
        return x, self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.domain.check(x, "PCANormal")
        weight, sigma = self._spread(context)
        size, k = weight.shape[1:]
        offset = (x - self.location(context)).flatten(1)
        # M = WᵀW + σ²I = RᵀR: the factor R of the QR decomposition of W stacked on σI is more accurate than the
        # product. With u = M⁻¹Wᵀy the quadratic form of y is |y − Wu|²/σ² + |u|², a sum of squares.
        noise = sigma[:, None, None] * torch.eye(k, dtype=weight.dtype, device=weight.device)
        triangle = torch.linalg.qr(torch.cat([weight, noise], 1)).R
        projected = (weight.mT @ offset[..., None]).contiguous()
        half = torch.linalg.solve_triangular(triangle.mT, projected, upper=False)
        u = torch.linalg.solve_triangular(triangle, half, upper=True)
        residual = (offset - (weight @ u)[..., 0]) / sigma[:, None]
        log_volume = triangle.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1) + (size - k) * sigma.log()
        quadratic = residual.square().sum(-1) + u[..., 0].square().sum(-1)
        log_prob: Tensor = -0.5 * quadratic - log_volume - size * LOG_SQRT_2PI
        return log_prob

    def _spread(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """T·W (batch or 1, D, k) and T·σ (batch or 1,)."""
        return self.temperature * self.weight(context), self.temperature * self.log_sigma(context).exp()


def _log_standard(noise: Tensor) -> Tensor:
    """Log-density (batch,) of standard normal noise (batch, D)."""
    return -0.5 * noise.square().sum(1) - noise.shape[1] * LOG_SQRT_2PI
