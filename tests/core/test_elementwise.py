"""Element-wise maps: known densities, edges, and what lies outside."""

import math

import pytest
import torch
from torch.special import ndtr

from boltzflow.core import Chain, Domain, Flow, Inverse, distributions, layers, transformers
from boltzflow.core.functional import dequantize
from boltzflow.errors import DomainError, OptionError, ShapeError
from boltzflow.testing import check_density, random_states

IMAGE = Domain.real((2, 3, 4))


def test_each_class_has_its_own_scale_and_shift_and_soft_labels_lie_between():
    layer = layers.ElementwiseAffine(IMAGE, torch.ones(2, 1, 1), torch.zeros(2, 1, 1), context_size=2)
    with torch.no_grad():
        layer.log_scale.weight.copy_(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
        layer.shift.weight.copy_(torch.tensor([[0.0, 0.0], [5.0, -5.0]]))
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    x, log_ratio = layer(torch.ones(3, *IMAGE.shape), labels)
    expected = torch.tensor([[1.0, math.e + 5.0], [math.e**2, -4.0], [math.e, math.e**0.5]])
    assert torch.allclose(x, expected[:, :, None, None].expand_as(x))
    assert torch.allclose(log_ratio, 12 * torch.tensor([1.0, 2.0, 1.5]))


def test_a_fixed_affine_map_has_no_parameters_but_a_state():
    layer = layers.ElementwiseAffine(Domain.real(2), torch.tensor([2.0, 3.0]), torch.tensor(1.0), trainable=False)
    assert not list(layer.parameters())
    other = layers.ElementwiseAffine(Domain.real(2), shift=torch.tensor(0.0), trainable=False)
    other.load_state_dict(layer.state_dict())
    assert torch.allclose(other(torch.ones(1, 2))[0], torch.tensor([[3.0, 4.0]]))


def test_an_affine_map_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"ElementwiseAffine: expected a scale that broadcasts to \(2, 3, 4\)"):
        layers.ElementwiseAffine(IMAGE, torch.ones(2))
    with pytest.raises(OptionError, match="expected positive scales; got -1"):
        layers.ElementwiseAffine(IMAGE, torch.tensor(-1.0))
    with pytest.raises(DomainError, match="ElementwiseAffine: expected real coordinates; got circle"):
        layers.ElementwiseAffine(Domain.circle(1))


def test_an_elementwise_spline_learns_a_marginal():
    """Uniform numbers in, a density ∝ 1 + 0.8 cos(πx) on [−1, 1] out, whose entropy is known."""
    domain = Domain.interval(-1.0, 1.0)
    flow = Flow(
        distributions.Independent(domain), layers.Elementwise(transformers.RationalQuadratic(domain, bins=12))
    ).double()
    grid = torch.linspace(-1.0, 1.0, 401, dtype=torch.float64)[1:, None] - 0.0025
    weights = (1.0 + 0.8 * torch.cos(math.pi * grid[:, 0])) / 400.0
    entropy = -(weights * (200.0 * weights).log()).sum()
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        kl = -(weights * flow.log_prob(grid)).sum() - entropy
        kl.backward()
        optimizer.step()
    assert 0.0 <= kl < 0.01 * (math.log(2.0) - entropy)  # of what the uniform density misses


def test_a_logistic_normal_integrates_to_one_and_vanishes_outside():
    domain = Domain.interval(-1.0, 3.0)
    flow = Flow(distributions.DiagonalNormal(Domain.real(1)), layers.ToInterval(domain)).double()
    check_density(flow.log_prob, domain, points=20_001, tolerance=1e-6)
    at = torch.tensor([[1.0], [3.5], [-1.0], [3.0]], dtype=torch.float64)
    log_prob = flow.log_prob(at)
    assert math.isclose(log_prob[0].item(), -0.5 * math.log(2.0 * math.pi))  # slope 1 in the middle: 4 · ¼
    assert log_prob[1] == -torch.inf
    assert (log_prob[2:] < -100.0).all()  # edges: far out on the real line, finite


def test_a_logistic_map_keeps_digits_near_the_lower_edge_and_never_leaves():
    layer = layers.ToInterval(Domain.interval(0.0, 1.0))
    z = torch.linspace(-60.0, 60.0, 241)[:, None]
    x, _ = layer(z)
    assert layer.data_domain.contains(x).all()
    assert torch.allclose(layer.inverse(x)[0][z < 0], z[z < 0].clamp(min=math.log(2.0**-23)), rtol=1e-5)
    assert layer.inverse(x)[0].isfinite().all()


def test_only_intervals_pass_through_the_logistic_function():
    domain = Domain.circle(1) + Domain.interval(0.0, 2.0, names=["bond"]) + Domain.real(1)
    layer = layers.ToInterval(domain)
    assert [c.kind for c in layer.latent_domain] == ["circle", "real", "real"]
    assert layer.latent_domain.names[1] == "bond"
    back = Inverse(layers.ToInterval(domain))
    assert Chain([layer, back]).data_domain == layer.latent_domain
    z = random_states(layer.latent_domain, 5)
    assert torch.equal(layer(z)[0][:, [0, 2]], z[:, [0, 2]])
    with pytest.raises(OptionError, match="ToInterval: expected a domain with an interval"):
        layers.ToInterval(Domain.real(2))


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_the_logit_of_pixels_is_normalised_on_its_slightly_wider_range(alpha):
    flow = Flow(distributions.DiagonalNormal(Domain.real(1)), layers.Logit(Domain.real(1), alpha=alpha)).double()
    edge = alpha / (1.0 - 2.0 * alpha)
    x = torch.linspace(-edge, 1.0 + edge, 100_001, dtype=torch.float64)[:, None]
    assert math.isclose(torch.trapezoid(flow.log_prob(x).exp(), x[:, 0]).item(), 1.0, abs_tol=1e-6)
    pixels = torch.linspace(0.0, 1.0, 100_001, dtype=torch.float64)[:, None]
    inside = torch.trapezoid(flow.log_prob(pixels).exp(), pixels[:, 0])
    bound = torch.logit(torch.tensor(1.0 - alpha, dtype=torch.float64))
    assert torch.allclose(inside, 2.0 * ndtr(bound) - 1.0, atol=1e-6)
    outside = torch.tensor([[-edge - 1e-3], [1.0 + edge + 1e-3]], dtype=torch.float64, requires_grad=True)
    assert (flow.log_prob(outside) == -torch.inf).all()


def test_the_logit_maps_pixels_as_its_formula_says():
    layer = layers.Logit(IMAGE, alpha=0.1).double()
    x = torch.rand(4, *IMAGE.shape, dtype=torch.float64)
    z, log_ratio = layer.inverse(x)
    assert torch.allclose(z, torch.logit(0.1 + 0.8 * x))
    back, log_back = layer(z)
    assert torch.allclose(back, x)
    assert torch.allclose(log_back, -log_ratio)
    slope = 0.8 / ((0.1 + 0.8 * x) * (0.9 - 0.8 * x))
    assert torch.allclose(log_ratio, slope.log().flatten(1).sum(1))
    with pytest.raises(OptionError, match=r"alpha in \[0, 0.5\); got 0.5"):
        layers.Logit(IMAGE, alpha=0.5)


def test_wrap_takes_circles_home_and_leaves_the_rest():
    layer = layers.Wrap(Domain.real(1) + Domain.circle(1, 0.0, 1.0))
    x = torch.tensor([[7.5, 2.25], [-7.5, -0.25]], requires_grad=True)
    for out, log_ratio in (layer(x), layer.inverse(x)):
        assert torch.allclose(out, torch.tensor([[7.5, 0.25], [-7.5, 0.75]]))
        assert (log_ratio == 0.0).all()
    assert torch.equal(torch.autograd.grad(layer.inverse(x)[0].sum(), x)[0], torch.ones(2, 2))


def test_dequantized_pixels_fill_their_cells():
    """Means of 100 000 uniform numbers for each level, as z-scores."""
    n = 100_000
    pixels = torch.arange(4.0).expand(n, 4)
    x = dequantize(pixels, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal((4.0 * x).floor(), pixels)
    z = (x.mean(0) - (torch.arange(4.0) + 0.5) / 4.0) / (0.25 / math.sqrt(12.0 * n))
    assert z.abs().max() < 4.5
