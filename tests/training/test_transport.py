"""Constrained transport: its weights against those found by searching among all densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.training.transport import constrained_transport

COUNTS = [4, 3, 2, 1]  # of samples in each of four states: q is known exactly, and so are all means over it
TARGET = np.array([0.02, 0.08, 0.25, 0.65])


def samples() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    q = np.array(COUNTS) / sum(COUNTS)
    state = np.repeat(np.arange(4), COUNTS)
    # The target's normalisation must not matter.
    return torch.from_numpy(np.log(q[state])), torch.from_numpy(np.log(TARGET[state])) + 7.3, q


def entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize(
    ("trust", "loss", "binding"),
    [
        (0.1, math.inf, "trust"),
        (0.5, math.inf, "trust"),
        (math.inf, 0.05, "entropy"),
        (math.inf, 0.2, "entropy"),
        (0.5, 0.02, "both"),
        (5.0, 5.0, ""),
    ],
)
def test_the_closest_density_that_the_constraints_allow(trust: float, loss: float, binding: str) -> None:
    log_q, log_p, q = samples()
    step = constrained_transport(log_q, log_p, trust, loss)
    found = np.bincount(np.repeat(np.arange(4), COUNTS), weights=step.log_weights.exp().numpy())
    assert found.sum() == pytest.approx(1.0)

    constraints = [{"type": "eq", "fun": lambda p: p.sum() - 1}]
    if math.isfinite(trust):
        constraints.append({"type": "ineq", "fun": lambda p: trust - divergence(p, q)})
    if math.isfinite(loss):
        constraints.append({"type": "ineq", "fun": lambda p: loss - (entropy(q) - entropy(p))})
    best = minimize(
        lambda p: divergence(p, TARGET),
        q,
        method="SLSQP",
        bounds=[(1e-6, 1.0)] * 4,
        constraints=constraints,
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    np.testing.assert_allclose(found, best.x, atol=2e-5)

    assert step.divergence == pytest.approx(divergence(found, q), abs=1e-9)
    assert step.entropy_loss == pytest.approx(entropy(q) - entropy(found), abs=1e-9)
    assert (step.trust > 0, step.entropy > 0) == (binding in ("trust", "both"), binding in ("entropy", "both"))
    if step.trust > 0:
        assert step.divergence == pytest.approx(trust, rel=1e-6)
    if step.entropy > 0:
        assert step.entropy_loss == pytest.approx(loss, rel=1e-6)
    assert step.is_at_target == (binding == "")
    if step.is_at_target:
        np.testing.assert_allclose(found, TARGET, atol=1e-12)


def test_the_trust_region_alone_gives_the_geometric_path_and_the_entropy_alone_powers_of_the_target() -> None:
    log_q, log_p, _ = samples()
    step = constrained_transport(log_q, log_p, trust_region=0.2)
    expected = (log_p - log_q) / (1 + step.trust)  # (p/q)^β over samples of q
    torch.testing.assert_close(step.log_weights, expected.log_softmax(0))
    step = constrained_transport(log_q, log_p, max_entropy_loss=0.1)
    expected = log_p / (1 + step.entropy) - log_q  # p^β / q
    torch.testing.assert_close(step.log_weights, expected.log_softmax(0))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e8])
def test_both_constraints_hold_however_far_the_target_is(scale: float) -> None:
    """Energies of clashes reach 1e8 kT; 20 000 samples."""
    z = torch.randn(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_q = -0.5 * z.square().sum(1) - 1.5 * math.log(2 * math.pi)
    step = constrained_transport(log_q, -scale * (z - 1).square().sum(1), 0.3, 0.2)
    assert step.divergence <= 0.3 * (1 + 1e-4)
    assert step.entropy_loss <= 0.2 * (1 + 1e-4)
    assert max(step.divergence / 0.3, step.entropy_loss / 0.2) == pytest.approx(1.0, abs=1e-3)


def test_samples_that_cannot_be_evaluated_have_no_weight() -> None:
    log_q, log_p, _ = samples()
    log_p[3] = -torch.inf
    step = constrained_transport(log_q, log_p, 0.1)
    assert step.log_weights[3] == -torch.inf
    assert step.log_weights.exp().sum().item() == pytest.approx(1.0)


def test_impossible_input_is_refused() -> None:
    log_q, log_p, _ = samples()
    with pytest.raises(OptionError, match="Expected positive bounds; got 0 and 1 nats"):
        constrained_transport(log_q, log_p, 0.0, 1.0)
    with pytest.raises(ShapeError, match=r"of equal shape \(n,\); got \(10,\), \(9,\)"):
        constrained_transport(log_q, log_p[1:])
    with pytest.raises(NonFiniteError, match="got 1 of 10"):
        constrained_transport(log_q, torch.where(torch.arange(10) == 0, log_p, torch.nan))
