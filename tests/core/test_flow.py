"""Chains, flows and recipes."""

import math

import pytest
import torch
from torch import Tensor

from boltzflow.core import Chain, Domain, Flow, Inverse, StochasticLayer, layers, objectives, recipes
from boltzflow.core.distributions import DiagonalNormal, Independent
from boltzflow.errors import DomainError, IntractableDensityError, OptionError, ShapeError
from boltzflow.testing import check_density, randomize_parameters

CYLINDER = Domain.real(1) + Domain.circle(1)


class Noise(StochasticLayer):
    """Adds normal noise; do and undo are equally likely."""

    def forward(self, z: Tensor, context=None, *, generator=None) -> tuple[Tensor, Tensor]:
        return z + torch.randn(z.shape, generator=generator, dtype=z.dtype), z.new_zeros(len(z))

    inverse = forward


class CylinderTarget:
    """N(x | 0, 1) · von Mises(φ | 3x, 1): normalised."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        normalizer = math.log(2 * math.pi * torch.special.i0(torch.tensor(1.0)).item())
        return -0.5 * x[:, 0].square() - 0.5 * math.log(2 * math.pi) + (x[:, 1] - 3 * x[:, 0]).cos() - normalizer


def small_flow(domain: Domain = CYLINDER, **options) -> Flow:
    flow = recipes.spline_flow(domain, layers=4, hidden=(16, 16), bins=5, **options).double()
    randomize_parameters(flow, scale=0.2)
    return flow


def test_chain_checks_that_domains_fit() -> None:
    first, second = (layers.CircularShift(d, torch.zeros(1)) for d in (Domain.circle(1), Domain.circle(1, 0.0, 1.0)))
    with pytest.raises(DomainError, match=r"layer 0 \(CircularShift\).*; got Domain\[circle\(-3.142, 3.142\)\]"):
        Chain([first, second])
    with pytest.raises(DomainError, match="at least one layer"):
        Chain([])
    with pytest.raises(DomainError, match="Expected a base on"):
        Flow(Independent(Domain.real(1)), first)


def test_inverse_of_a_chain_undoes_it() -> None:
    chain = small_flow().transform
    turned = Inverse(chain)
    z = torch.randn(5, 2, dtype=torch.float64)
    x, log_ratio = chain(z)
    back, log_back = turned(x)
    assert torch.allclose(CYLINDER.difference(back, z), torch.zeros_like(z), atol=1e-9)
    assert torch.allclose(log_back, -log_ratio)
    assert turned.latent_domain == chain.data_domain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_flow_knows_its_dtype(dtype, trainable) -> None:
    domain = Domain.real(2)
    layer = layers.ElementwiseAffine(domain) if trainable else layers.Permutation(domain, "reverse")
    flow = Flow(DiagonalNormal(domain, trainable=trainable), layer).to(dtype)
    x, _ = flow.sample(3)
    assert flow.like.dtype == x.dtype == dtype


def test_density_of_samples_is_that_of_log_prob() -> None:
    flow = small_flow(CYLINDER + Domain.interval(0.0, 1.0))
    x, log_q = flow.sample(500, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(flow.log_prob(x), log_q, atol=1e-8)


def test_flow_integrates_to_one() -> None:
    flow = small_flow()
    with torch.no_grad():
        check_density(flow.log_prob, flow.domain, points=801)


def test_density_is_zero_outside_and_periodic() -> None:
    flow = small_flow(Domain.interval(0.0, 1.0) + Domain.circle(1))
    x = torch.tensor([[0.5, 1.0], [1.5, 1.0], [0.5, 1.0 + 2 * math.pi], [math.nan, 0.0]], dtype=torch.float64)
    log_prob = flow.log_prob(x.requires_grad_())
    assert log_prob[1] == -torch.inf
    assert log_prob[3] == -torch.inf
    assert log_prob[0].item() == pytest.approx(log_prob[2].item(), abs=1e-9)
    gradient = torch.autograd.grad(log_prob[0] + log_prob[1], list(flow.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradient)


def test_log_prob_refuses_wrong_shapes_and_stochastic_layers() -> None:
    flow = small_flow()
    with pytest.raises(ShapeError, match=r"Flow.log_prob: expected states of shape \(batch, 2\)"):
        flow.log_prob(torch.zeros(3))
    noisy = Flow(Independent(CYLINDER), Noise(CYLINDER, CYLINDER))
    assert noisy.sample(3)[0].shape == (3, 2)
    with pytest.raises(IntractableDensityError, match="Noise"):
        noisy.log_prob(torch.zeros(1, 2))
    with pytest.raises(OptionError, match="no stochastic layer"):
        objectives.reverse_kl(noisy, CylinderTarget(), 4, path_gradient=True)


@pytest.mark.parametrize("make", [recipes.spline_flow, recipes.autoregressive_spline_flow])
def test_no_samples_are_a_batch_too(make) -> None:
    flow = make(Domain.real(2), layers=2, hidden=(8,), context_size=3)
    linear = layers.LULinear(Domain.real(2), context_size=3)
    flow = Flow(flow.base, Chain([flow.transform, linear]))
    context = torch.zeros(0, 3)
    x, log_q = flow.sample(0, context)
    assert x.shape == (0, 2)
    assert log_q.shape == flow.log_prob(x, context).shape == (0,)


def test_context_conditions_the_flow() -> None:
    flow = small_flow(context_size=2)
    x = torch.zeros(2, 2, dtype=torch.float64)
    log_prob = flow.log_prob(x, torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64))
    assert log_prob[0] != log_prob[1]


def test_same_seed_same_flow_and_global_randomness_untouched() -> None:
    state = torch.random.get_rng_state()
    one, other, third = (recipes.spline_flow(CYLINDER, layers=2, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert any(not torch.equal(one[k], third[k]) for k in one)


def test_couplings_of_a_large_flow_have_one_shape() -> None:
    domain = Domain.interval(0.0, 1.0, 53) + Domain.circle(7)
    flow = recipes.spline_flow(domain, layers=6, hidden=(8,))
    shapes = {tuple(tuple(p.shape) for p in layer.parameters()) for layer in flow.transform.layers}
    assert len(shapes) == 1


def test_learns_the_cylinder() -> None:
    """Reverse KL on a normalised target ends near 0, and the weights give its normalisation."""
    torch.manual_seed(0)
    flow = recipes.spline_flow(CYLINDER, layers=4, hidden=(32, 32), bins=8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(250):
        optimizer.zero_grad()
        objectives.reverse_kl(flow, CylinderTarget(), 256, generator=random).value.backward()
        optimizer.step()
    with torch.no_grad():
        log_weights = objectives.reverse_kl(flow, CylinderTarget(), 20_000, generator=random).log_weights.double()
    weights = log_weights.exp()
    ess = weights.sum() ** 2 / (len(weights) * weights.square().sum())
    assert ess > 0.8
    z = (weights.mean() - 1.0) / (weights.std() / len(weights) ** 0.5)
    assert abs(z) < 4.0
