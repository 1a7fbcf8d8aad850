"""Encoders, decoders and variational autoencoders, against a linear model whose evidence is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import Domain, FlowVAE, layers, nets
from boltzflow.core.distributions import (
    ConditionalBernoulli,
    ConditionalNormal,
    DiagonalNormal,
    Dirac,
    FullNormal,
    Independent,
    PCANormal,
)
from boltzflow.errors import DomainError, OptionError, ShapeError

LATENT, DATA = Domain.real(2), Domain.real(5)
NOISE = 0.5


class Linear(nn.Module):
    """Means W·x and constant log-widths."""

    def __init__(self, weight: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.weight, self.log_scale = weight, log_scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.weight.T, self.log_scale.expand(len(x), -1)], 1)


def linear_vae() -> tuple[FlowVAE, Tensor, Tensor]:
    """x = Wz + σ·noise, with an uncorrelated encoder: its exact evidence is that of principal components."""
    weight = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight[:, 1] = 0.3 * weight[:, 1] + 0.5 * weight[:, 0]  # so the posterior is correlated, which the encoder is not
    precision = torch.eye(2, dtype=torch.float64) + weight.T @ weight / NOISE**2
    mean = torch.linalg.solve(precision, weight.T / NOISE**2)
    variance = 1.2 * torch.linalg.inv(precision).diagonal()  # so wide that weights have a variance
    encoder = ConditionalNormal(LATENT, Linear(mean, 0.5 * variance.log()))
    decoder = ConditionalNormal(DATA, Linear(weight, torch.full((5,), math.log(NOISE), dtype=torch.float64)))
    prior = DiagonalNormal(LATENT).double()
    x = FullNormal(DATA, covariance=weight @ weight.T + NOISE**2 * torch.eye(5).double()).double()
    data = x.sample(4, generator=torch.Generator().manual_seed(1))[0]
    evidence = PCANormal(DATA, weight, NOISE).double().log_prob(data)
    return FlowVAE(prior, encoder, decoder), data, evidence


def test_bounds_of_a_linear_model() -> None:
    """The weights' mean is the evidence (z-scores of 100 000 samples); bounds come in the right order."""
    vae, x, evidence = linear_vae()
    n = 100_000
    z, log_q, log_p = vae(x, n, generator=torch.Generator().manual_seed(2))
    assert z.shape == (4, n, 2)
    assert log_q.shape == log_p.shape == (4, n)
    weights = (log_p - log_q - evidence[:, None]).exp()
    scores = (weights.mean(1) - 1) / weights.std(1) * math.sqrt(n)
    assert scores.abs().max() < 4.5, scores.tolist()
    elbo = vae.elbo(x, n, generator=torch.Generator().manual_seed(3))
    tight = vae.importance_weighted_bound(x, 1000, generator=torch.Generator().manual_seed(4))
    assert (elbo < evidence - 0.05).all()
    assert ((tight - evidence).abs() < 0.1).all()


def test_parts_of_the_bound() -> None:
    """At β the bound is log p(x | z) + β·[log p(z) − log q(z | x)] of the same samples."""
    vae, x, _ = linear_vae()

    def at(beta: float) -> Tensor:
        return vae.elbo(x, 3, beta=beta, generator=torch.Generator().manual_seed(0))

    z, log_q, log_p = vae(x, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(at(1.0), (log_p - log_q).mean(1))
    flat, repeated = z.view(-1, 2), x.repeat_interleave(3, 0)
    torch.testing.assert_close(at(0.0), vae.decoder.log_prob(repeated, flat).view(4, 3).mean(1))
    torch.testing.assert_close(at(0.5), (at(0.0) + at(1.0)) / 2)
    torch.testing.assert_close(log_q.flatten(), vae.encoder.log_prob(flat, repeated))


def test_a_flow_makes_the_posterior_of_a_linear_model_exact() -> None:
    """Started from white noise, the flow L·z₀ + mean(x) gives the evidence with every single sample."""
    vae, x, evidence = linear_vae()
    weight = vae.decoder.net.weight
    precision = torch.eye(2, dtype=torch.float64) + weight.T @ weight / NOISE**2
    triangle = torch.linalg.cholesky(torch.linalg.inv(precision))

    class Posterior(layers.CircularShift):
        """z = L z₀ + mean(x)."""

        def __init__(self) -> None:
            super().__init__(LATENT, torch.zeros(0))

        def forward(self, z, context=None, *, generator=None):
            mean = context @ torch.linalg.solve(precision, weight.T / NOISE**2).T
            return z @ triangle.T + mean, triangle.diagonal().log().sum().expand(len(z))

    exact = FlowVAE(vae.prior, DiagonalNormal(LATENT).double(), vae.decoder, Posterior())
    _, log_q, log_p = exact(x, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_p - log_q, evidence[:, None].expand(4, 3), rtol=1e-6, atol=1e-6)


def test_samples_of_the_model() -> None:
    """Covariance of samples against WWᵀ + σ²: z-scores of 50 000."""
    vae, _, _ = linear_vae()
    n = 50_000
    x, z = vae.sample(n, generator=torch.Generator().manual_seed(0))
    assert z.shape == (n, 2)
    weight = vae.decoder.net.weight
    expected = weight @ weight.T + NOISE**2 * torch.eye(5)
    variance = expected.square() + expected.diagonal()[:, None] * expected.diagonal()
    scores = (x.T @ x / n - expected) / (variance / n).sqrt()
    assert scores.abs().max() < 4.5


def test_gradients_reach_encoder_flow_and_decoder() -> None:
    shape = Domain.real((1, 2, 3))
    flow = layers.AffineCoupling(LATENT, [True, False], context_size=6)
    encoder = ConditionalNormal(LATENT, nn.Sequential(nn.Flatten(), nets.MLP(6, (8,), 4)))
    vae = FlowVAE(DiagonalNormal(LATENT, trainable=True), encoder, ConditionalBernoulli(shape, nn.Linear(2, 6)), flow)
    x = torch.randint(0, 2, (7, 1, 2, 3), generator=torch.Generator().manual_seed(0)).float()
    (-vae.elbo(x, 2, generator=torch.Generator().manual_seed(0)).mean()).backward()
    for part in (vae.prior, vae.encoder, vae.decoder, vae.flow):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    assert vae.sample(3)[0].shape == (3, 1, 2, 3)


# -- encoders and decoders ------------------------------------------------------------------------------


def test_bernoulli_probabilities_add_up_to_one() -> None:
    decoder = ConditionalBernoulli(Domain.real(3), nn.Linear(2, 3)).double()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    z = torch.randn(1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probability = decoder.log_prob(states, z.expand(8, -1)).exp()
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-12)
    n = 50_000
    x, _ = decoder.sample(n, z.expand(n, -1), generator=torch.Generator().manual_seed(1))
    counts = (x[:, None] == states).all(2).sum(0)
    scores = (counts - n * probability) / (n * probability * (1 - probability)).sqrt()
    assert scores.abs().max() < 4.5
    assert (decoder.log_prob(torch.full((1, 3), 0.5, dtype=torch.float64), z) == -torch.inf).all()


def test_dirac_hands_on_its_context() -> None:
    dirac = Dirac(Domain.real((1, 2)))
    context = torch.randn(3, 2)
    x, log_prob = dirac.sample(3, context)
    assert torch.equal(x.flatten(1), context)
    assert torch.equal(log_prob, torch.zeros(3))
    assert dirac.log_prob(x + 1, context).tolist() == [-torch.inf] * 3


def test_uniform_encoder_counts_every_coordinate() -> None:
    """−D·log(width), with the domain in place of bounds of its own."""
    encoder = Independent(Domain.interval(0.0, 2.0, 3))
    _, log_q = encoder.sample(4, torch.randn(4, 5))
    torch.testing.assert_close(log_q, torch.full((4,), -3 * math.log(2.0)))


def test_messages() -> None:
    encoder, decoder = ConditionalNormal(LATENT, nn.Linear(5, 4)), ConditionalNormal(DATA, nn.Linear(2, 10))
    with pytest.raises(DomainError, match="expected a prior on"):
        FlowVAE(DiagonalNormal(DATA), encoder, decoder)
    with pytest.raises(DomainError, match="expected an encoder on"):
        FlowVAE(DiagonalNormal(DATA), encoder, decoder, layers.CircularShift(DATA, torch.zeros(0)))
    with pytest.raises(OptionError, match="expected at least one sample; got 0"):
        FlowVAE(DiagonalNormal(LATENT), encoder, decoder).elbo(torch.zeros(2, 5), 0)
    with pytest.raises(OptionError, match="Dirac: expected a context; got none"):
        Dirac(LATENT).sample(2)
    with pytest.raises(ShapeError, match="Dirac: expected 2 numbers for each state; got 3"):
        Dirac(LATENT).sample(2, torch.zeros(2, 3))
    with pytest.raises(OptionError, match="ConditionalBernoulli: expected a context; got none"):
        ConditionalBernoulli(LATENT, nn.Linear(3, 2)).sample(2)
    with pytest.raises(ShapeError, match=r"expected the net to return \(4, 2\); got \(4, 3\)"):
        ConditionalBernoulli(LATENT, nn.Linear(3, 3)).sample(4, torch.zeros(4, 3))
