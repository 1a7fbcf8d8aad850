"""Ready-made flows: identity at first, densities of their samples, seeds, and what they refuse."""

import pytest
import torch

from boltzflow.core import Domain, layers, nets, recipes
from boltzflow.errors import DomainError, OptionError
from boltzflow.testing import check_density, randomize_parameters

MIXED = Domain.real(1) + Domain.circle(1) + Domain.interval(0.0, 2.0)
PLANE = Domain.real(2)
RECIPES = {
    "spline flow": lambda **o: recipes.spline_flow(MIXED, layers=2, hidden=(16,), bins=4, **o),
    "autoregressive spline flow": lambda **o: recipes.autoregressive_spline_flow(
        MIXED, layers=2, hidden=(16,), bins=4, **o
    ),
    "maf": lambda **o: recipes.maf(PLANE, layers=2, hidden=(16,), **o),
    "realnvp": lambda **o: recipes.realnvp(PLANE, layers=2, hidden=(16,), **o),
    "nice": lambda **o: recipes.realnvp(PLANE, layers=2, hidden=(16,), scale="additive", **o),
}


@pytest.mark.parametrize("name", RECIPES)
def test_starts_as_its_base(name: str) -> None:
    flow = RECIPES[name]().double()
    x, log_q = flow.sample(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.base.log_prob(x), log_q, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RECIPES)
def test_density_of_samples_and_conditional_shape(name: str) -> None:
    flow = RECIPES[name](context_size=2).double()
    randomize_parameters(flow, scale=0.3)
    context = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, log_q = flow.sample(40, context, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.log_prob(x, context), log_q, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(flow.log_prob(x, context.flip(0)), log_q)
    with pytest.raises(OptionError, match="expected a context of size 2; got none"):
        flow.log_prob(x)


@pytest.mark.parametrize("name", ["maf", "realnvp"])
def test_density_integrates_to_one(name: str) -> None:
    flow = RECIPES[name]().double()
    randomize_parameters(flow, scale=0.2)
    check_density(flow.log_prob, flow.domain, points=801)


@pytest.mark.parametrize("name", RECIPES)
def test_seed_decides_and_global_state_stays(name: str) -> None:
    before = torch.get_rng_state()
    one, other, third = RECIPES[name](seed=3), RECIPES[name](seed=3), RECIPES[name](seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True))


@pytest.mark.parametrize("make", [recipes.realnvp, recipes.maf])
def test_heavy_tails_do_no_harm(make) -> None:
    """Student's t with two degrees of freedom: three draws in 10 000 are farther out than 60."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        data = torch.distributions.StudentT(2.0).sample((10_000, 2))
    flow = make(PLANE, layers=6, hidden=(32, 32), seed=2)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for part in data.split(100):
        optimizer.zero_grad()
        loss = -flow.log_prob(part).mean()
        loss.backward()
        assert loss.isfinite()
        optimizer.step()
    assert all(p.isfinite().all() for p in flow.parameters())
    median = -flow.log_prob(data).median()
    assert median < -RECIPES["realnvp"]().log_prob(data).median() + 1.0
    assert flow.log_prob(torch.tensor([[1e3, -1e3], [1e5, 1e5]])).isfinite().all()


def test_impossible_domains_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 2 coordinates"):
        recipes.realnvp(Domain.real(1))
    for make in (recipes.maf, recipes.realnvp):
        with pytest.raises(DomainError, match=f"{make.__name__}: expected real coordinates; got circle"):
            make(Domain.real(1) + Domain.circle(1))


def test_each_group_depends_on_itself_and_those_before_it() -> None:
    """The Jacobian of z → x has zeros exactly where a coordinate belongs to a later group."""
    domain = Domain.circle(3) + Domain.real(2) + Domain.interval(-1.0, 1.0, 2)
    groups = [[0, 2, 4], [5, 1], [3, 6]]
    flow = recipes.spline_flow(domain, layers=(4, 2, 2), hidden=(16,), groups=groups).double()
    randomize_parameters(flow, scale=0.5)
    z, _ = flow.base.sample(1, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda z: flow.transform(z[None])[0][0], z[0].double())
    group_of = {i: g for g, group in enumerate(groups) for i in group}
    allowed = torch.tensor([[group_of[j] <= group_of[i] for j in range(7)] for i in range(7)])
    assert torch.equal(jacobian != 0, allowed)
    x, log_q = flow.sample(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(flow.log_prob(x), log_q, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("groups", "numbers"), [([[0, 1], [1, 2]], 2), ([[0, 1, 2]], (2, 2)), ([[0, 1]], 2)])
def test_groups_that_are_no_partition_are_refused(groups, numbers) -> None:
    with pytest.raises(OptionError, match=r"spline_flow: expected (each of 3|a domain of at least 2)"):
        recipes.spline_flow(MIXED, layers=numbers, groups=groups)


def test_a_coupling_is_shown_no_coordinate_that_it_moves() -> None:
    with pytest.raises(OptionError, match="expected given coordinates that are not transformed"):
        layers.SplineCoupling(MIXED, [True, False, False], given=[True, True, False])


def test_a_net_gets_the_harmonics_of_what_it_is_shown() -> None:
    """Three cosines and sines of each visible circle, zeros for the other; straight coordinates come first."""
    domain = Domain.circle(1) + Domain.real(1) + Domain.circle(1, 0.0, 1.0)
    features = nets.DomainFeatures(domain, visible=torch.tensor([True, True, False]), harmonics=3)
    x = torch.tensor([[0.3, 2.0, 0.4], [-3.0, 1.0, 0.9]], dtype=torch.float64)
    assert features.size == 13
    found = features(x)
    assert torch.allclose(found[:, 0], x[:, 1])
    for k in range(3):
        for at, function in ((1 + 4 * k, torch.cos), (3 + 4 * k, torch.sin)):
            assert torch.allclose(found[:, at], function((k + 1) * x[:, 0]))
            assert (found[:, at + 1] == 0.0).all()
    with pytest.raises(OptionError, match="at least 1 harmonic of a circle; got 0"):
        nets.DomainFeatures(domain, harmonics=0)


def test_the_first_couplings_are_affine_where_widths_are_known() -> None:
    domain = Domain.interval(0.0, 1.0, 3) + Domain.circle(2) + Domain.real(1)
    width = torch.tensor([0.1, torch.inf, 0.1, torch.inf, torch.inf, 1.0])
    location = torch.full((6,), 0.5)
    flow = recipes.spline_flow(domain, layers=4, hidden=(8,), width=width, location=location, affine=2)
    counts = [moved_simply(coupling) for coupling in flow.transform]
    assert counts[2:] == [0, 0]
    assert sum(counts[:2]) == 3  # every narrow coordinate is moved once in two couplings
    plain = recipes.spline_flow(domain, layers=2, hidden=(8,), affine=2)
    assert [moved_simply(coupling) for coupling in plain.transform] == [0, 0]


def moved_simply(coupling: layers.Coupling) -> int:
    """The number of coordinates that the simple transformer moves."""
    return 0 if coupling.simple is None else len(coupling.simple.domain)
