"""Nothing in, nothing out: samples that are not asked for, and batches without states."""

from __future__ import annotations

import math

import pytest
import torch

from boltzflow.core import Domain, Flow, distributions, layers, recipes
from boltzflow.core.flow_vae import FlowVAE
from boltzflow.core.samplers import rejection_sampling
from boltzflow.core.stochastic_flow import StochasticFlow
from boltzflow.testing import check_no_samples
from tests.core.registry import DENSITIES, FLOWS, KERNELS, STOCHASTIC, TARGETS
from tests.core.registry.stochastic import DOMAIN, Coupled

IMAGE = Domain.real((2, 4, 4))


@pytest.mark.parametrize("name", DENSITIES)
def test_no_samples_of_a_density(name: str) -> None:
    case = DENSITIES[name]
    check_no_samples(case.make(), torch.zeros(0, case.context_size) if case.context_size else None)


@pytest.mark.parametrize("name", TARGETS)
def test_no_samples_of_a_target(name: str) -> None:
    check_no_samples(TARGETS[name]())


@pytest.mark.parametrize("name", FLOWS)
def test_no_samples_of_a_flow(name: str) -> None:
    case = FLOWS[name]
    flow = case.make(0)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    check_no_samples(flow.train(), torch.zeros(0, case.context_size) if case.context_size else None)
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())


@pytest.mark.parametrize(
    "base",
    [
        distributions.DiagonalNormal(IMAGE),
        distributions.GlowNormal(IMAGE),
        distributions.FullNormal(IMAGE),
        distributions.PCANormal(IMAGE, torch.ones(32, 2)),
        distributions.GaussianMixture(IMAGE, torch.zeros(3, 2, 4, 4)),
        distributions.Mixture([distributions.DiagonalNormal(IMAGE), distributions.GlowNormal(IMAGE)]),
    ],
    ids=lambda base: type(base).__name__,
)
def test_no_samples_of_images(base: distributions.Distribution) -> None:
    check_no_samples(base)
    check_no_samples(Flow(base, layers.Permutation(IMAGE)))


def test_no_samples_given_a_context() -> None:
    plane, bits = Domain.real(2), Domain.real((1, 2, 2))
    point = distributions.Dirac(plane)
    check_no_samples(point, torch.zeros(0, 2))
    decoder = distributions.ConditionalBernoulli(bits, torch.nn.Linear(2, 4))
    check_no_samples(decoder, torch.zeros(0, 2))
    encoder = distributions.ConditionalNormal(plane, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4)))
    check_no_samples(encoder, torch.zeros(0, 1, 2, 2))
    vae = FlowVAE(distributions.DiagonalNormal(plane), encoder, decoder)
    assert vae.elbo(torch.zeros(0, 1, 2, 2)).shape == (0,)
    assert vae.importance_weighted_bound(torch.zeros(0, 1, 2, 2), 3).shape == (0,)
    assert [part.shape for part in vae.sample(0)] == [(0, 1, 2, 2), (0, 2)]


def test_no_samples_of_many_wells_and_of_a_rejection() -> None:
    check_no_samples(distributions.targets.ManyWell(6))
    wide = distributions.DiagonalNormal(Domain.real(2))
    x, acceptance = rejection_sampling(wide, wide, 0.0, 0)
    assert x.shape == (0, 2)
    assert math.isnan(acceptance)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_moves_no_states(name: str) -> None:
    move = KERNELS[name]()(torch.zeros(0, 3), Coupled().log_prob)
    assert move.x.shape == (0, 3)
    assert move.log_ratio.shape == move.log_weight.shape == move.acceptance.shape == (0,)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_flow_gives_no_samples_and_remembers_no_acceptance(name: str) -> None:
    case = STOCHASTIC[name]
    layer = case.make()
    flow = StochasticFlow(distributions.Independent(DOMAIN), layer, Coupled())
    context = torch.zeros(0, case.context_size) if case.context_size else None
    x, log_weights = flow.log_weights(0, context)
    assert x.shape == (0, 3)
    assert log_weights.shape == (0,)
    assert layer.acceptance is None


@pytest.mark.parametrize("layer", [layers.ActNorm, layers.BatchNorm])
@pytest.mark.parametrize("domain", [Domain.real(2), IMAGE], ids=["flat", "images"])
def test_an_empty_batch_sets_nothing(layer: type[layers.ActNorm], domain: Domain) -> None:
    flow = Flow(distributions.DiagonalNormal(domain), layer(domain))
    x = torch.randn(3, *domain.shape)
    before = flow.eval().log_prob(x)
    assert flow.train().log_prob(x[:0]).shape == (0,)
    assert torch.equal(flow.eval().log_prob(x), before)


def test_a_compiled_kernel_takes_an_empty_batch() -> None:
    flow = recipes.spline_flow(Domain.circle(2), layers=2, hidden=(8,))
    torch.compiler.reset()
    whole = torch.compile(flow.log_prob, fullgraph=True, dynamic=False, backend="aot_eager")
    assert whole(torch.zeros(0, 2)).shape == (0,)
