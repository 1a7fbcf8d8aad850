"""Nets in bfloat16 while training: near in the gradient, exact in all that is not a net."""

from __future__ import annotations

import pytest
import torch

import boltzflow as bf
import boltzflow.testing
from boltzflow.core import Domain, Flow, distributions, recipes, transformers
from boltzflow.core.functional import linear_rows
from boltzflow.core.layers.autoregressive import Autoregressive
from boltzflow.core.layers.coupling import SplineCoupling
from boltzflow.core.objectives import reverse_kl
from boltzflow.core.precision import nets_in
from boltzflow.errors import OptionError
from tests.analysis.exact import chain

DOMAIN = Domain.real(3) + Domain.circle(3)
OPTIONS = {"steps": 4, "batch_size": 32, "warmup": 2, "log_every": 1, "progress": False}


def coupled() -> Flow:
    return recipes.spline_flow(DOMAIN, layers=4, hidden=(64, 64))


def autoregressive() -> Flow:
    layer = Autoregressive(transformers.RationalQuadratic(DOMAIN), hidden=(64, 64), passes=3)
    return Flow(distributions.Independent(DOMAIN), layer)


def cosine(one: list[torch.Tensor], two: list[torch.Tensor]) -> float:
    a, b = (torch.cat([t.flatten().double() for t in side]) for side in (one, two))
    return float(a @ b / (a.norm() * b.norm()))


def gradient(generator: bf.BoltzmannGenerator, dtype: torch.dtype | None) -> list[torch.Tensor]:
    generator.flow.zero_grad()
    with nets_in(generator.flow, dtype):
        loss = reverse_kl(generator.flow, generator.internal_target(), 512, generator=torch.Generator().manual_seed(0))
    loss.value.backward()
    return [p.grad for p in generator.flow.parameters() if p.grad is not None]


def test_the_gradient_points_where_that_of_float32_does(small) -> None:
    bf.testing.randomize_parameters(small.flow, scale=0.05)
    exact, low = gradient(small, None), gradient(small, torch.bfloat16)
    assert {g.dtype for g in low} == {torch.float32}
    assert 0.99 < cosine(exact, low) < 1.0 - 1e-9
    assert all(torch.equal(a, b) for a, b in zip(exact, gradient(small, None), strict=True))


@pytest.mark.parametrize("make", [coupled, autoregressive])
def test_only_the_net_is_rounded(make, monkeypatch) -> None:
    """Both directions, given what the net has said, are those of float32 bit for bit."""
    flow = make()
    bf.testing.randomize_parameters(flow, scale=0.1)
    z, _ = flow.base.sample(64, generator=torch.Generator().manual_seed(0))
    layers = [part for part in flow.modules() if isinstance(part, SplineCoupling | Autoregressive)]
    for layer in layers:
        for direction in (layer.forward, layer.inverse):
            exact = direction(z)
            with nets_in(flow, torch.bfloat16):
                low = direction(z)
            assert low[0].dtype == low[1].dtype == torch.float32
            assert not torch.equal(exact[1], low[1])
            torch.testing.assert_close(low[1], exact[1], rtol=0.05, atol=0.05)
    coupling = coupled().transform.layers[-1] if make is coupled else None
    if coupling is not None:
        bf.testing.randomize_parameters(coupling, scale=0.1)
        said = linear_rows(coupling.trunk(coupling.features(z)), coupling.head.weight, coupling.head.bias)
        monkeypatch.setattr("boltzflow.core.layers.coupling.linear_rows", lambda *_: said)
        exact = coupling(z)
        with nets_in(coupling, torch.bfloat16):
            low = coupling(z)
        assert all(torch.equal(a, b) for a, b in zip(exact, low, strict=True))


def test_energies_are_not_rounded(small) -> None:
    z, _ = small.flow.sample(16, generator=torch.Generator().manual_seed(0))
    exact = small.evaluate(z)
    with nets_in(small.flow, torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(exact, small.evaluate(z), strict=True))


def test_a_double_net_stays_as_it_is() -> None:
    flow = coupled().double()
    bf.testing.randomize_parameters(flow, scale=0.1)
    x = flow.sample(8, generator=torch.Generator().manual_seed(0))[0].detach()
    exact = flow.log_prob(x)
    with nets_in(flow, torch.bfloat16):
        assert torch.equal(flow.log_prob(x), exact)


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sampling_after_training_is_that_of_float32(compile, request) -> None:
    if compile:
        request.getfixturevalue("compiler")
    generator = bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(32,), bins=4, start="plain")
    twin = bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(32,), bins=4, start="plain")
    start = [p.clone() for p in generator.flow.parameters()]
    options = {**OPTIONS, "method": "reverse_kl", "optimizer": "adam", "compile": compile}
    exact = bf.train(twin, precision="float32", **options)
    history = bf.train(generator, precision="bfloat16", **options)
    assert history.settings["precision"] == "bfloat16"
    assert history.last.loss == pytest.approx(exact.last.loss, rel=0.02)
    assert history.last.loss != exact.last.loss
    assert any(not torch.equal(a, b) for a, b in zip(start, generator.flow.parameters(), strict=True))
    x, log_q = generator.flow.sample(256, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(generator.flow.log_prob(x.detach()), log_q, atol=2e-3, rtol=1e-4)
    with nets_in(generator.flow, torch.bfloat16):
        assert not torch.equal(generator.flow.sample(256, generator=torch.Generator().manual_seed(1))[0], x)


def test_an_unknown_precision_is_refused(small) -> None:
    with pytest.raises(OptionError, match="'precision': input should be 'float32' or 'bfloat16'; got 'float16'"):
        bf.train(small, precision="float16", compile=False, **OPTIONS)
