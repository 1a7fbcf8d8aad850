"""State dicts belong to parts of the same structure: others refuse them, or give the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import Chain, Domain, distributions, layers, recipes, transformers
from boltzflow.testing import check_state_dict, random_states, randomize_parameters
from tests.core.registry import BIJECTIONS, DENSITIES, FLOWS


def seeded(make) -> nn.Module:
    def build(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return make().eval()

    return build


def context_of(size: int) -> Tensor | None:
    return torch.randn(8, size, generator=torch.Generator().manual_seed(1)) if size else None


def without_fingerprints(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As it was written before there were any."""
    return {key: value for key, value in state.items() if not key.endswith(("fingerprint", "transformer.scale"))}


@pytest.mark.parametrize("name", BIJECTIONS)
def test_a_bijection_of_another_seed(name: str) -> None:
    case = BIJECTIONS[name]
    context = context_of(case.context_size)

    def evaluate(layer: nn.Module) -> Tensor:
        x = random_states(layer.data_domain, 8, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
        z, log_ratio = layer.inverse(x, context)
        return torch.cat([z.flatten(), log_ratio])

    check_state_dict(seeded(case.make), evaluate)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_of_another_seed(name: str) -> None:
    case = DENSITIES[name]
    context = context_of(case.context_size)

    def evaluate(density: nn.Module) -> Tensor:
        x = random_states(density.domain, 8, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
        return density.log_prob(x, context)

    check_state_dict(seeded(case.make), evaluate)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_of_another_seed(name: str) -> None:
    case = FLOWS[name]
    context = context_of(case.context_size)

    def evaluate(flow: nn.Module) -> Tensor:
        x = random_states(flow.domain, 8, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
        return flow.log_prob(x, context)

    for seeds in ((0, 1), (3, 2)):
        check_state_dict(lambda seed: case.make(seed).eval(), evaluate, seeds=seeds)
    # Of the same seed it is taken, with its fingerprints and without.
    saved = case.make(5).eval()
    randomize_parameters(saved)
    for state in (saved.state_dict(), without_fingerprints(saved.state_dict())):
        again = case.make(5).eval()
        again.load_state_dict(state)
        assert torch.equal(evaluate(again), evaluate(saved)) or name in ("maf", "realnvp")  # see the last test


REAL, CIRCLES = Domain.real(4), Domain.real(2) + Domain.circle(2)
OTHERS = {
    "mask": [lambda m=m: layers.SplineCoupling(REAL, m) for m in ([True, True, False, False], [True, False] * 2)],
    "shown": [
        lambda g=g: layers.SplineCoupling(REAL, [True, False, False, False], given=g)
        for g in ([False, True, False, False], [False, False, True, False])
    ],
    "seam": [
        lambda s=s: layers.SplineCoupling(CIRCLES, [True, False] * 2, seam=torch.tensor(s))
        for s in ([0.0, 1.0], [0.1, 1.0])
    ],
    "bound": [lambda b=b: layers.Elementwise(transformers.Bernstein(REAL, bound=b)) for b in (5.0, 6.0)],
    "first knots": [
        lambda w=w: layers.Elementwise(transformers.RationalQuadratic(REAL, width=torch.tensor([1.0, 1.0, w, 1.0])))
        for w in (1.0, 1.01)
    ],
    "order": [
        lambda o=o: layers.Autoregressive(transformers.Affine(REAL), order=o) for o in ([0, 1, 2, 3], [1, 0, 2, 3])
    ],
    "passes": [lambda p=p: layers.Autoregressive(transformers.Affine(REAL), passes=p) for p in (2, 4)],
    "interval": [lambda h=h: distributions.Independent(Domain.interval(0.0, h, 2)) for h in (1.0, 1.001)],
    "kind": [lambda d=d: distributions.Independent(d) for d in (Domain.interval(0.0, 1.0), Domain.circle(1, 0.0, 1.0))],
    "permuted kinds": [lambda o=o: layers.Permutation(CIRCLES, o) for o in ([0, 1, 2, 3], [2, 1, 0, 3])],
    "half of the channels": [lambda f=f: layers.ImageCoupling(Domain.real((2, 2, 2)), flip=f) for f in (True, False)],
    "checkerboard": [
        lambda f=f: layers.ImageCoupling(Domain.real((1, 2, 2)), split="checkerboard", flip=f) for f in (True, False)
    ],
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_structure_is_refused_in_every_precision(name: str) -> None:
    make, make_other = OTHERS[name]
    saved, other = make(), make_other()
    with pytest.raises(RuntimeError, match="expected the state dict of a module with the same"):
        other.load_state_dict(saved.state_dict())
    with pytest.raises(RuntimeError, match="expected the state dict of a module with the same"):
        other.load_state_dict(saved.state_dict(), strict=False)
    for dtype in (torch.float64, torch.float32):  # rounded on the way
        make().to(dtype).load_state_dict(saved.to(dtype).state_dict())


def test_a_message_names_the_layer_and_what_differs() -> None:
    saved, other = (recipes.spline_flow(Domain.real(6), layers=2, hidden=(8,), seed=seed) for seed in (0, 2))
    with pytest.raises(RuntimeError, match=r"transform\.layers\.0: .* the same masks or orders; got that of a module"):
        other.load_state_dict(saved.state_dict())


def test_a_chain_knows_the_domains_of_its_ends_and_of_layers_without_a_state() -> None:
    def make(high: float) -> Chain:
        plane = Domain.real(2)
        return Chain([layers.ElementwiseAffine(plane), layers.ToInterval(Domain.interval(0.0, high, 2))])

    make(1.0).load_state_dict(make(1.0).state_dict())
    with pytest.raises(RuntimeError, match="the same domains and seams, bounds or scales"):
        make(1.0).load_state_dict(make(2.0).state_dict())


@pytest.mark.parametrize("recipe", [recipes.realnvp, recipes.maf])
def test_the_scale_comes_from_the_state_dict(recipe) -> None:
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for scale in ("exp", "sigmoid", "inverse_sigmoid", "tanh"):
        saved = recipe(Domain.real(3), layers=2, hidden=(8,), scale=scale)
        randomize_parameters(saved)
        other = recipe(Domain.real(3), layers=2, hidden=(8,))
        other.load_state_dict(saved.state_dict())
        assert torch.equal(other.log_prob(x), saved.log_prob(x))
    # Before the default was bounded it was exp, and state dicts did not say so.
    old = recipe(Domain.real(3), layers=2, hidden=(8,), scale="exp")
    randomize_parameters(old)
    other = recipe(Domain.real(3), layers=2, hidden=(8,))
    other.load_state_dict(without_fingerprints(old.state_dict()))
    assert torch.equal(other.log_prob(x), old.log_prob(x))
    # One of the base alone says nothing of the layers.
    other = recipe(Domain.real(3), layers=2, hidden=(8,))
    before = other.log_prob(x)
    other.load_state_dict({key: v for key, v in other.state_dict().items() if key.startswith("base")}, strict=False)
    assert torch.equal(other.log_prob(x), before)
