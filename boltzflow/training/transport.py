"""Constrained mass transport: steps from a density towards a target, limited in length and loss of entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.errors import NonFiniteError, OptionError, ShapeError


@dataclass(frozen=True)
class Transport:
    """Weights of the next density on samples of the current one.

    Attributes:
        log_weights: (n,) float64, normalised; −inf where the target cannot be evaluated.
        trust: λ ≥ 0, the multiplier of the trust region; 0 if it is not active.
        entropy: η ≥ 0, the multiplier of the entropy constraint.
        divergence: KL(next ‖ current) on the samples, in nats.
        entropy_loss: entropy of the current density minus that of the next.
    """

    log_weights: Tensor
    trust: float
    entropy: float
    divergence: float
    entropy_loss: float

    @property
    def is_at_target(self) -> bool:
        """Whether no constraint is active: the weights are those of the target itself."""
        return self.trust == 0.0 and self.entropy == 0.0


def constrained_transport(
    log_q: Tensor, log_p: Tensor, trust_region: float = math.inf, max_entropy_loss: float = math.inf
) -> Transport:
    """The density closest to a target within KL(next ‖ q) ≤ trust_region and H(q) − H(next) ≤ max_entropy_loss.

    C. von Klitzing et al. 2026, arXiv 2510.18460. With multipliers λ and η it is

        next ∝ exp[(log p + λ log q) / (1 + λ + η)];

    the two multipliers maximise a concave dual function. The trust region alone follows the geometric path from q to p;
    the entropy constraint alone follows powers of p, like temperature annealing.

    Args:
        log_q: (n,) log-density of samples of q.
        log_p: (n,) log-density of the target there, up to a constant.
        trust_region: in nats, positive; infinite for no constraint.
        max_entropy_loss: in nats, positive; infinite for no constraint.

    Raises:
        ShapeError: if both do not have the same shape (n,).
        OptionError: if a bound is not positive.
        NonFiniteError: if fewer than two samples can be evaluated.

    >>> log_q, log_p = torch.zeros(4), torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> step = constrained_transport(log_q, log_p, trust_region=0.1)
    >>> round(step.divergence, 4), step.trust > 0, step.entropy
    (0.1, True, 0.0)
    >>> constrained_transport(log_q, log_p).is_at_target
    True
    """
    if log_q.shape != log_p.shape or log_q.dim() != 1:
        raise ShapeError(
            f"Expected log q and log p of equal shape (n,); got {tuple(log_q.shape)}, {tuple(log_p.shape)}."
        )
    if not (trust_region > 0.0 and max_entropy_loss > 0.0):
        raise OptionError(f"Expected positive bounds; got {trust_region:g} and {max_entropy_loss:g} nats.")
    sound = log_q.isfinite() & log_p.isfinite()
    if int(sound.sum()) < 2:
        raise NonFiniteError(
            f"Expected at least 2 samples with finite densities; got {int(sound.sum())} of {len(log_q)}."
        )
    dual = _Dual(log_q[sound], log_p[sound], trust_region, max_entropy_loss)
    trust, entropy = dual.solve()
    log_weights = dual.log_weights(trust, entropy)
    full = torch.full(log_q.shape, -torch.inf, dtype=torch.float64, device=log_q.device)
    full[sound] = torch.from_numpy(log_weights).to(full)
    return Transport(full, trust, entropy, *dual.measures(log_weights))


class _Dual:
    """g(λ, η) = −(1 + λ + η) log Z(λ, η) − λ ε_trust + η (H(q) − ε_entropy), on n samples of q."""

    def __init__(self, log_q: Tensor, log_p: Tensor, trust_region: float, max_entropy_loss: float) -> None:
        self._q, self._p = (t.detach().cpu().double().numpy() for t in (log_q, log_p))
        self._p = self._p - self._p.max()  # a constant of the target
        self._bounds = (trust_region, max_entropy_loss)
        self._entropy = -float(self._q.mean())

    def log_weights(self, trust: float, entropy: float) -> Array:
        """Normalised log-weights (n,) over samples of q."""
        tilt = (self._p - (1 + entropy) * self._q) / (1 + trust + entropy)
        normalised: Array = tilt - _log_sum_exp(tilt)
        return normalised

    def measures(self, log_weights: Array) -> tuple[float, float]:
        """KL(next ‖ q), and H(q) − H(next)."""
        weights = np.exp(log_weights)
        relative = np.where(weights > 0, log_weights + math.log(len(weights)), 0.0)
        divergence = float((weights * relative).sum())
        return divergence, self._entropy + divergence + float((weights * self._q).sum())

    def solve(self) -> tuple[float, float]:
        """Multipliers λ and η, exactly 0 for a constraint that is not active."""
        free = [math.isfinite(bound) for bound in self._bounds]
        divergence, loss = self.measures(self.log_weights(0.0, 0.0))
        if divergence <= self._bounds[0] and loss <= self._bounds[1]:
            return 0.0, 0.0
        # Multipliers span decades, so the search is over the logarithms of 1 + λ and 1 + η.
        best = minimize(
            self._negative,
            x0=[1.0 if one else 0.0 for one in free],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 60.0 if one else 0.0) for one in free],
            options={"maxiter": 500, "ftol": 1e-15, "gtol": 1e-10},
        )
        trust, entropy = np.expm1(best.x)
        return float(trust), float(entropy)

    def _negative(self, logarithms: Array) -> tuple[float, Array]:
        """−g and its gradient."""
        trust, entropy = np.expm1(logarithms)
        scale = 1 + trust + entropy
        tilt = (self._p - (1 + entropy) * self._q) / scale
        log_z = _log_sum_exp(tilt) - math.log(len(tilt))
        weights = np.exp(tilt - _log_sum_exp(tilt))
        mean_tilt, mean_q = float((weights * tilt).sum()), float((weights * self._q).sum())
        value, slopes = -scale * log_z, [mean_tilt - log_z, mean_tilt - log_z + mean_q]
        for i, (multiplier, bound) in enumerate(zip((trust, entropy), self._bounds, strict=True)):
            if math.isfinite(bound):
                price = -bound if i == 0 else self._entropy - bound
                value, slopes[i] = value + multiplier * price, slopes[i] + price
        return -value, -np.array(slopes) * np.exp(logarithms)


def _log_sum_exp(values: Array) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))
