"""Kernels leave their density invariant, and stochastic layers carry exact path weights."""

import torch

from boltzflow.core import Chain, Domain, Flow, layers
from boltzflow.core.distributions import Independent
from boltzflow.core.sampling import random_walk

DOMAIN = Domain.real(1) + Domain.circle(1) + Domain.interval(0.0, 1.0)


def _density() -> Independent:
    return Independent(DOMAIN, torch.tensor([0.5, 2.0, 0.2]), torch.tensor([0.7, 0.9, 0.3])).double()


def _observables(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[:, 0], x[:, 0].square(), x[:, 1].cos(), x[:, 1].sin(), x[:, 2], x[:, 2].square()], 1)


def test_random_walk_leaves_its_density_invariant() -> None:
    """Started from exact samples, many inner steps: z-scores of moments between before and after, 100 000 chains."""
    density, random = _density(), torch.Generator().manual_seed(0)
    x, _ = density.sample(100_000, generator=random)
    fresh, _ = density.sample(100_000, generator=random)
    y, gain, acceptance = random_walk(x, density.log_prob, DOMAIN, 0.8, 10, generator=random)
    assert 0.1 < acceptance.mean() < 0.9
    assert torch.allclose(gain, density.log_prob(y) - density.log_prob(x))
    after, exact = _observables(y), _observables(fresh)
    z = (after.mean(0) - exact.mean(0)) / ((after.var(0) + exact.var(0)) / len(x)).sqrt()
    assert z.abs().max() < 4.0
    assert (x != y).any(1).double().mean() > 0.8  # the chains did move


def test_path_weights_are_exact() -> None:
    """Σ w over paths estimates ∫ p = 1 and its averages, though the base is another density: 200 000 samples."""
    density, random = _density(), torch.Generator().manual_seed(1)
    base = Independent(DOMAIN, torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.2, 2.0, torch.inf])).double()

    def halfway(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (density.log_prob(x) + base.log_prob(x))

    flow = Flow(base, Chain([layers.MetropolisLayer(DOMAIN, halfway, 0.5, steps=5)]))
    x, log_q = flow.sample(200_000, generator=random)
    weights = (density.log_prob(x) - log_q).exp()
    z = (weights.mean() - 1.0) / (weights.std() / len(weights) ** 0.5)
    assert abs(z) < 4.0
    observed = weights[:, None] * _observables(x)
    exact, _ = density.sample(200_000, generator=random)
    error = ((observed.var(0) + _observables(exact).var(0)) / len(x)).sqrt()
    assert ((observed.mean(0) - _observables(exact).mean(0)) / error).abs().max() < 4.0
