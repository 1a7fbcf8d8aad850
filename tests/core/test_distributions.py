"""Distributions: each integrates to one, its samples follow it, its gradients are right."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from boltzflow.core import Domain, nets, recipes
from boltzflow.core.distributions import (
    ConditionalBernoulli,
    ConditionalNormal,
    DiagonalNormal,
    Dirac,
    Distribution,
    FullNormal,
    GaussianMixture,
    GlowNormal,
    ImageDensity,
    Independent,
    LinearInterpolation,
    Mixture,
    PCANormal,
    Product,
    Resampled,
    Tabulated,
    targets,
)
from boltzflow.errors import DomainError, OptionError, ShapeError
from boltzflow.testing import randomize_parameters
from tests.core.registry import DENSITIES

DTYPES = [torch.float32, torch.float64]
PLANE = Domain.real(2)
REACH = 20.0  # real lines are cut at ± this; no density here has a mass beyond it that could be seen


def made(name: str, dtype: torch.dtype = torch.float64, draws: int = 1000) -> tuple[Distribution, Tensor | None]:
    """A density with random parameters, in eval mode, normalised from `draws` if need be; one context for it (1, C)."""
    case = DENSITIES[name]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        density = case.make().to(dtype).eval()
    randomize_parameters(density)
    if isinstance(density, Resampled):
        density.estimate_normalization(draws, generator=torch.Generator().manual_seed(2))
    size = case.context_size
    context = torch.randn(1, size, dtype=dtype, generator=torch.Generator().manual_seed(1)) if size else None
    return density, context


def repeated(context: Tensor | None, n: int) -> Tensor | None:
    return None if context is None else context.expand(n, -1)


def cell_masses(density: Distribution, context: Tensor | None, edges: list[Tensor], nodes: int) -> Tensor:
    """Probabilities of the cells between edges (one tensor a coordinate), by Gauss–Legendre quadrature in each."""
    knots, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
    axes, steps = [], []
    for axis in edges:
        low, high = axis[:-1, None], axis[1:, None]
        axes.append(((low + high) / 2 + (high - low) / 2 * knots).flatten())
        steps.append(((high - low) / 2 * weights).flatten())
    grid = torch.cartesian_prod(*axes).view(-1, *density.domain.shape)
    with torch.no_grad():
        parts = [density.log_prob(part, repeated(context, len(part))) for part in grid.split(50_000)]
    mass = torch.cat(parts).exp().view([len(a) for a in axes])
    for i, step in enumerate(steps):
        mass = mass * step.view([-1 if j == i else 1 for j in range(len(steps))])
    split = [size for axis in edges for size in (len(axis) - 1, nodes)]
    return mass.view(split).sum(tuple(range(1, len(split), 2)))


def joint_edges(density: Distribution, x: Tensor, cells: int) -> list[Tensor]:
    """Edges of cells in each coordinate: quantiles of a pilot sample x (n, D), between the ends of the domain."""
    quantiles = torch.linspace(0, 1, cells + 1, dtype=torch.float64)[1:-1]
    edges = []
    for coordinate, values in zip(density.domain, x.double().T, strict=True):
        low, high = (-REACH, REACH) if coordinate.kind == "real" else (coordinate.low, coordinate.high)
        # Tails are cut once more, where they are about to vanish, for quadrature finds them more easily so.
        inner = torch.cat([values.min()[None], values.quantile(quantiles), values.max()[None]])
        edges.append(torch.cat([inner.new_tensor([low]), inner, inner.new_tensor([high])]).unique())
    return edges


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", DENSITIES)
def test_density_integrates_to_one_and_samples_follow_it(name: str, dtype: torch.dtype) -> None:
    """Counts in joint cells against quadrature of the density: z-scores of 100 000 samples."""
    density, context = made(name, dtype, draws=1_000_000)
    n, size = 100_000, len(density.domain)
    generator = torch.Generator().manual_seed(3)
    pilot = density.sample(2000, repeated(context, 2000), generator=generator)[0].detach().flatten(1)
    edges = joint_edges(density, pilot, {1: 10, 2: 6, 3: 4}[size])

    exact = copy.deepcopy(density).double()
    exact_context = None if context is None else context.double()
    nodes = {1: 400, 2: 60, 3: 16}[size]
    masses = cell_masses(exact, exact_context, edges, nodes)
    assert masses.sum().item() == pytest.approx(1.0, abs=DENSITIES[name].tolerance)

    x, log_p = density.sample(n, repeated(context, n), generator=generator)
    assert x.shape == (n, *density.domain.shape)
    assert log_p.shape == (n,)
    assert x.dtype == log_p.dtype == dtype
    assert density.domain.contains(x).all()
    torch.testing.assert_close(log_p, density.log_prob(x, repeated(context, n)), rtol=1e-4, atol=1e-4)
    counts = torch.from_numpy(np.histogramdd(x.detach().flatten(1).double().numpy(), [e.numpy() for e in edges])[0])
    assert counts.sum() == n
    expected = n * masses
    rare = expected < 25  # counted together, for their counts are not normal
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    z = (counts - expected) / (expected * (1 - expected / n)).clamp(min=1.0).sqrt()
    assert z.abs().max() < 4.5, f"z-scores {z.tolist()} of {n} samples"


@pytest.mark.parametrize("name", DENSITIES)
def test_gradients_reach_every_parameter_and_are_right(name: str) -> None:
    density, context = made(name)
    x = density.sample(8, repeated(context, 8), generator=torch.Generator().manual_seed(0))[0].detach()
    probe = torch.linspace(0.5, 1.5, 8, dtype=x.dtype)
    parameters = dict(density.named_parameters())

    def value() -> Tensor:
        return (density.log_prob(x, repeated(context, 8)) * probe).sum()

    gradients = torch.autograd.grad(value(), list(parameters.values())) if parameters else ()
    step = 1e-6
    for (key, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        assert gradient.abs().max() > 0, key
        direction = torch.randn(parameter.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            parameter += step * direction
            above = value()
            parameter -= 2 * step * direction
            below = value()
            parameter += step * direction
        expected = (gradient * direction).sum().item()
        assert ((above - below) / (2 * step)).item() == pytest.approx(expected, rel=1e-5, abs=1e-6), key


@pytest.mark.parametrize("name", DENSITIES)
def test_gradient_with_respect_to_the_state(name: str) -> None:
    density, context = made(name)
    x = density.sample(4, repeated(context, 4), generator=torch.Generator().manual_seed(0))[0].detach()
    if density.log_prob(x.requires_grad_(), repeated(context, 4)).requires_grad:  # else it is constant nearby
        assert torch.autograd.gradcheck(lambda t: density.log_prob(t, repeated(context, 4)), x, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("name", DENSITIES)
def test_state_dict_restores(name: str) -> None:
    density, context = made(name)
    case = DENSITIES[name]
    fresh = case.make().double().eval()
    fresh.load_state_dict(density.state_dict())
    x = density.sample(8, repeated(context, 8))[0]
    assert torch.equal(fresh.log_prob(x, repeated(context, 8)), density.log_prob(x, repeated(context, 8)))


# One of each class is enough.
COMPILED = {type(case.make()): name for name, case in DENSITIES.items() if case.compiles}


@pytest.mark.parametrize("name", COMPILED.values())
def test_log_prob_compiles_whole(name: str) -> None:
    density, context = made(name, torch.float32)
    x = density.sample(8, repeated(context, 8), generator=torch.Generator().manual_seed(0))[0].detach()
    torch.compiler.reset()
    whole = torch.compile(density.log_prob, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(whole(x, repeated(context, 8)), density.log_prob(x, repeated(context, 8)))


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_repeat_with_a_generator(name: str) -> None:
    density, context = made(name)
    first, second = (
        density.sample(16, repeated(context, 16), generator=torch.Generator().manual_seed(5))[0] for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", DENSITIES)
def test_density_is_zero_outside_intervals(name: str) -> None:
    density, context = made(name)
    x = density.sample(2, repeated(context, 2))[0].detach()
    for i in density.domain.indices("interval"):
        outside = x.clone()
        outside[0, i] = density.domain.coordinates[i].high + 0.01
        outside[1, i] = density.domain.coordinates[i].low - 0.01
        assert (density.log_prob(outside, repeated(context, 2)) == -torch.inf).all()


# -- normal densities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [3.0, 0.8, 0.02])
def test_samples_of_von_mises_depend_on_the_width(width: float) -> None:
    """The gradient of a mean over samples, through the samples, is that of the exact mean: E[1 − cos a] = 1 − A(κ).

    200 000 samples in batches of 2000; z-score below 4.
    """
    base = Independent(Domain.circle(1), torch.tensor([0.4]), torch.tensor([width]), trainable=True).double()
    x, _ = base.sample(200_000, generator=torch.Generator().manual_seed(0))
    parts = (1.0 - (x[:, 0] - 0.4).cos()).split(2000)
    rates = torch.stack([torch.autograd.grad(p.mean(), base.log_width, retain_graph=True)[0] for p in parts])
    log_width = torch.tensor(math.log(width), dtype=torch.float64, requires_grad=True)
    kappa = (-2.0 * log_width).exp()
    (exact,) = torch.autograd.grad(1.0 - torch.special.i1e(kappa) / torch.special.i0e(kappa), log_width)
    assert abs((rates.mean() - exact).item()) < 4.0 * rates.std().item() / len(rates) ** 0.5


def test_full_normal_against_torch() -> None:
    location = torch.tensor([0.5, -1.0, 0.0])
    covariance = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.5, -0.3], [0.0, -0.3, 0.4]])
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.MultivariateNormal(location, covariance).log_prob(x)
    torch.testing.assert_close(FullNormal(Domain.real(3), location, covariance).log_prob(x), expected)


@pytest.mark.parametrize(("size", "k"), [(4, 1), (4, 4), (3, 5)])
def test_principal_components_against_torch(size: int, k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, location = torch.randn(size, k, generator=generator), torch.randn(size, generator=generator)
    x = 2 * torch.randn(50, size, generator=generator).double()
    density = PCANormal(Domain.real(size), weight, 0.3, location).double()
    covariance = weight.double() @ weight.double().T + 0.3**2 * torch.eye(size, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(location.double(), covariance).log_prob(x)
    torch.testing.assert_close(density.log_prob(x), expected, rtol=1e-5, atol=1e-5)  # σ is kept as a float32 log


def test_principal_components_keep_their_digits_at_small_noise() -> None:
    """In float32 at σ = 1e-3 of the signal, where the textbook formula would subtract numbers of order 1e6."""
    weight = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    density = PCANormal(Domain.real(6), weight, 1e-3)
    x = density.sample(100, generator=torch.Generator().manual_seed(1))[0]
    exact = copy.deepcopy(density).double().log_prob(x.double())
    assert (density.log_prob(x) - exact).abs().max() < 0.05


def test_samples_of_principal_components_have_noise_in_every_direction() -> None:
    """Variance along a direction without weight: σ², z-score of 50 000 samples."""
    density = PCANormal(PLANE, torch.tensor([[1.0], [0.0]]), 0.2)
    n = 50_000
    y = density.sample(n, generator=torch.Generator().manual_seed(0))[0][:, 1]
    z = (y.square().mean() / 0.04 - 1) / (2 / n) ** 0.5
    assert abs(z) < 4.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: DiagonalNormal(PLANE, torch.ones(2), trainable=True),
        lambda: GlowNormal(PLANE),
        lambda: FullNormal(PLANE, covariance=torch.tensor([[1.0, 0.5], [0.5, 2.0]]), trainable=True),
        lambda: PCANormal(PLANE, torch.ones(2, 1), trainable=True),
    ],
    ids=["diagonal", "Glow", "full", "principal components"],
)
def test_temperature_scales_deviations_and_shares_parameters(make) -> None:
    warm = make()
    randomize_parameters(warm)
    cool = warm.tempered(0.5)
    one, other = (d.sample(20, generator=torch.Generator().manual_seed(0))[0] for d in (warm, cool))
    mean = warm.location(None) * (3 * warm.location_gain).exp() if isinstance(warm, GlowNormal) else warm.location(None)
    torch.testing.assert_close(other - mean, 0.5 * (one - mean))
    assert {id(p) for p in warm.parameters()} == {id(p) for p in cool.parameters()}
    assert warm.temperature == 1.0
    assert cool.tempered(2.0).log_prob(one).equal(warm.log_prob(one))
    with pytest.raises(OptionError, match="expected a positive temperature; got -1"):
        warm.tempered(-1.0)


def test_classes_as_one_hot_and_soft_labels() -> None:
    density = DiagonalNormal(PLANE, context_size=3)
    randomize_parameters(density)
    labels = torch.eye(3)
    means, log_scales = density.moments(labels)
    soft_mean, soft_log_scale = density.moments(torch.tensor([[0.5, 0.25, 0.25]]))
    torch.testing.assert_close(soft_mean[0], 0.5 * means[0] + 0.25 * means[1] + 0.25 * means[2])
    torch.testing.assert_close(soft_log_scale[0], 0.5 * log_scales[0] + 0.25 * log_scales[1] + 0.25 * log_scales[2])
    assert not torch.allclose(means[0], means[1])


def test_glow_base_gains_speed_up_learning() -> None:
    """Plain gradient descent reaches a far mean in fewer steps than v alone would."""
    data = torch.full((1, 1), 5.0)

    def steps(base: Distribution) -> int:
        optimizer = torch.optim.Adam(base.parameters(), lr=1e-2)
        for step in range(1000):
            optimizer.zero_grad()
            (-base.log_prob(data)).sum().backward()
            optimizer.step()
            if (base.sample(1, generator=torch.Generator().manual_seed(0))[0] - 5.0).abs() < 0.5:
                return step
        return 1000

    assert steps(GlowNormal(Domain.real(1))) < 0.7 * steps(DiagonalNormal(Domain.real(1), trainable=True))


# -- mixtures -----------------------------------------------------------------------------------------


def test_mixture_of_normals_is_the_general_mixture() -> None:
    locations = torch.tensor([[-2.0, 0.0], [1.0, 1.0]])
    scales, weights = torch.tensor([[0.5, 1.0], [2.0, 0.7]]), torch.tensor([0.2, 0.8])
    whole = GaussianMixture(PLANE, locations, scales, weights)
    parts = Mixture([DiagonalNormal(PLANE, m, s) for m, s in zip(locations, scales, strict=True)], weights)
    x = 2 * torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole.log_prob(x), parts.log_prob(x))


def test_each_sample_of_a_mixture_keeps_its_own_context() -> None:
    mixture = Mixture([DiagonalNormal(Domain.real(1), scale=torch.tensor([1e-3]), context_size=1) for _ in range(2)])
    with torch.no_grad():
        for component in mixture.components:
            component.location.weight.fill_(1.0)
    context = torch.linspace(-3, 3, 100)[:, None]
    x, _ = mixture.sample(100, context, generator=torch.Generator().manual_seed(0))
    assert (x - context).abs().max() < 0.01


def test_defensive_mixture_of_a_flow_and_a_wide_normal() -> None:
    """Importance weights stay below 1 / weight of the wide density; mean weight 1, z-score of 20 000 samples."""
    flow = recipes.spline_flow(PLANE, layers=2, hidden=(8,)).double()
    wide = DiagonalNormal(PLANE, scale=torch.tensor([3.0, 3.0])).double()
    mixture = Mixture([flow, wide], torch.tensor([0.9, 0.1]), trainable=True).double()
    with torch.no_grad():
        x, log_q = mixture.sample(20_000, generator=torch.Generator().manual_seed(0))
        weights = (wide.log_prob(x) - log_q).exp()
    assert weights.max() <= 10.0 * (1 + 1e-5)
    assert abs((weights.mean() - 1) / weights.std() * 20_000**0.5) < 4.5
    (-mixture.log_prob(x[:10])).sum().backward()
    assert mixture.logits.value.grad.abs().max() > 0


def test_mixture_normalises_targets() -> None:
    """Integral over [−5, 5]², beyond which neither has mass."""
    mixture = Mixture([targets.TwoMoons(), targets.RingMixture()]).double()
    axis = torch.linspace(-5.0, 5.0, 401, dtype=torch.float64)
    total = mixture.log_prob(torch.cartesian_prod(axis, axis)).exp().sum().item() * (10.0 / 400) ** 2
    assert total == pytest.approx(1.0, abs=1e-6)


def test_mixture_outside_its_domain_has_gradient_zero() -> None:
    square = Domain.interval(0.0, 1.0, 2)
    mixture = Mixture([Independent(square), Independent(square)], trainable=True)
    log_prob = mixture.log_prob(torch.tensor([[0.5, 0.5], [0.5, 1.5]]))
    assert log_prob[1] == -torch.inf
    (gradient,) = torch.autograd.grad(log_prob[0], [mixture.logits.value])
    assert gradient.isfinite().all()


def test_linear_interpolation() -> None:
    first, second = DiagonalNormal(Domain.real(1)), DiagonalNormal(Domain.real(1), torch.tensor([1.0]))
    x = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    for fraction in (0.0, 0.3, 1.0):
        expected = (1 - fraction) * first.log_prob(x) + fraction * second.log_prob(x)
        torch.testing.assert_close(LinearInterpolation(first, second, fraction).log_prob(x), expected)
    narrow, wide = (Independent(Domain.interval(0.0, 1.0)) for _ in range(2))
    outside = torch.tensor([[2.0]])
    assert LinearInterpolation(narrow, wide, 0.0).log_prob(outside) == -torch.inf


# -- resampled and image densities ----------------------------------------------------------------------


def half_plane(truncation: int) -> Resampled:
    """A normal density whose left half is accepted with probability 0.2, the right one with 0.8: Z = 0.5."""

    class Step(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[:, :1] > 0, 1.0, -1.0) * torch.log(torch.tensor(4.0))

    return Resampled(DiagonalNormal(PLANE), Step(), truncation=truncation).eval()


@pytest.mark.parametrize("truncation", [2, 3, 50])
def test_resampled_density_for_a_known_normalization(truncation: int) -> None:
    density = half_plane(truncation)
    log_z, error = density.estimate_normalization(400_000, generator=torch.Generator().manual_seed(0))
    assert error == pytest.approx((0.3 / 0.5) / 400_000**0.5, rel=0.01)
    assert abs(log_z - np.log(0.5)) < 4.5 * error
    density.acceptance_rate.fill_(0.5)
    last = 0.5 ** (truncation - 1)
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    ratio = (density.log_prob(x) - density.proposal.log_prob(x)).exp()
    torch.testing.assert_close(ratio, torch.tensor([(1 - last) * 1.6 + last, (1 - last) * 0.4 + last]))
    # How often samples lie on the right: z-score of 100 000.
    n, right = 100_000, ((1 - last) * 1.6 + last) / 2
    found = (density.sample(n, generator=torch.Generator().manual_seed(1))[0][:, 0] > 0).double().mean().item()
    assert abs(found - right) / (right * (1 - right) / n) ** 0.5 < 4.5


def test_an_estimate_of_whole_chunks_asks_for_no_empty_one() -> None:
    mixture = GaussianMixture(PLANE, torch.zeros(2, 2))
    density = Resampled(Mixture([mixture, mixture]), nets.MLP(2, (4,), 1))
    assert density.estimate_normalization(1 << 16)[0] < 0.0


def test_resampled_base_learns_by_maximum_likelihood() -> None:
    """It cuts a normal density in two, and its moving Z agrees with a fresh estimate."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randint(0, 2, (4096, 1), generator=generator) * 2 - 1
    data = 1.5 * side + 0.3 * torch.randn(4096, 1, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        base = Resampled(DiagonalNormal(Domain.real(1), scale=torch.tensor([1.5])), nets.MLP(1, (32,), 1))
        optimizer = torch.optim.Adam(base.parameters(), lr=1e-2)
        for _ in range(300):
            optimizer.zero_grad()
            (-base.log_prob(data).mean()).backward()
            optimizer.step()
        moving = base.acceptance_rate.log().item()
    base.eval()
    log_z, _ = base.estimate_normalization(200_000, generator=generator)
    assert moving == pytest.approx(log_z, abs=0.1)
    gain = (base.log_prob(data) - base.proposal.log_prob(data)).mean().item()
    assert gain > 0.4
    # In eval mode the density does not change from call to call.
    assert torch.equal(base.log_prob(data), base.log_prob(data))


def test_gradient_of_a_resampled_base_in_training() -> None:
    """It reaches the acceptance through Z: with a constant acceptance the density is the proposal's, whatever it is."""
    net = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    base = Resampled(DiagonalNormal(Domain.real(1)), net, truncation=1000, decay=1.0)
    base.log_prob(torch.zeros(5, 1)).sum().backward()
    assert abs(net.bias.grad.item()) < 1e-5
    base.eval()
    net.zero_grad()
    base.log_prob(torch.zeros(5, 1)).sum().backward()
    assert net.bias.grad.item() == pytest.approx(2.5, abs=1e-4)  # without Z: five times 1 − a


def test_resampled_density_is_zero_where_the_acceptance_overflows() -> None:
    """Far outside a flow's data its inverse may give states near the largest number."""
    base = Resampled(DiagonalNormal(PLANE), nets.MLP(2, (8, 8), 1)).eval()
    randomize_parameters(base, scale=3.0)
    x = torch.tensor([[3e38, -3e38], [-3e38, 3e38], [torch.inf, 0.0], [0.0, 0.0]])
    log_prob = base.log_prob(x)
    assert log_prob[:3].tolist() == [-torch.inf] * 3
    assert log_prob[3].isfinite()
    gradients = torch.autograd.grad(log_prob[3], list(base.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_image_density_lies_the_right_way_up() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])  # first row on top
    density = ImageDensity(image, (0.0, 3.0), (0.0, 2.0))
    x = torch.tensor([[0.5, 1.5], [1.5, 1.5], [2.5, 1.5], [0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [3.0, 2.0]])
    torch.testing.assert_close(density.log_prob(x).exp(), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 3.0]) / 15)
    smooth = ImageDensity(image, (0.0, 3.0), (0.0, 2.0), smooth=True)
    torch.testing.assert_close(smooth.log_prob(x), density.log_prob(x))  # middles, and the outer halves
    between = torch.tensor([[1.0, 1.5], [0.5, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(smooth.log_prob(between).exp(), torch.tensor([1.5, 2.5, 3.0]) / 15)


def test_smooth_samples_are_even_up_to_the_edge() -> None:
    """Four equal pixels make a uniform density: z-scores of 100 000 samples in 20 × 20 cells."""
    density, n = ImageDensity(torch.ones(2, 2), (0.0, 1.0), (0.0, 1.0), smooth=True), 100_000
    x, _ = density.sample(n, generator=torch.Generator().manual_seed(0))
    counts = np.histogram2d(x[:, 0].numpy(), x[:, 1].numpy(), bins=20, range=[(0, 1), (0, 1)])[0]
    assert np.abs(counts - n / 400).max() / (n / 400) ** 0.5 < 4.5


# -- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ConditionalNormal", "DiagonalNormal", "GaussianMixture", "Mixture", "Bernoulli", "Dirac"]
)
def test_one_sample_of_many_contexts_is_refused(name: str) -> None:
    """Broadcasting would give eight samples with one random number, or with none of the count asked for."""
    density = {
        "ConditionalNormal": lambda: ConditionalNormal(PLANE, torch.nn.Linear(3, 4)),
        "DiagonalNormal": lambda: DiagonalNormal(PLANE, context_size=3),
        "GaussianMixture": lambda: GaussianMixture(PLANE, torch.zeros(2, 2), context_size=3),
        "Mixture": lambda: Mixture([DiagonalNormal(PLANE), DiagonalNormal(PLANE)], context_size=3),
        "Bernoulli": lambda: ConditionalBernoulli(PLANE, torch.nn.Linear(3, 2)),
        "Dirac": lambda: Dirac(Domain.real(3)),
    }[name]()
    with pytest.raises(ShapeError, match="a row for each of 1 samples; got 8 rows"):
        density.sample(1, torch.zeros(8, 3))
    x, log_prob = density.sample(8, torch.zeros(8, 3))
    assert len(x) == len(log_prob) == 8


def test_messages() -> None:
    line, circle = DiagonalNormal(Domain.real(1)), Independent(Domain.circle(1))
    with pytest.raises(DomainError, match="DiagonalNormal: expected real coordinates; got circle"):
        DiagonalNormal(Domain.circle(1))
    with pytest.raises(ShapeError, match=r"expected a location that broadcasts to \(2,\); got \(3,\)"):
        DiagonalNormal(PLANE, torch.zeros(3))
    with pytest.raises(ShapeError, match=r"expected a location that broadcasts to \(2,\); got \(1, 2\)"):
        DiagonalNormal(PLANE, torch.zeros(1, 2))
    with pytest.raises(OptionError, match="expected positive scales; got 0"):
        DiagonalNormal(PLANE, scale=torch.tensor([1.0, 0.0]))
    with pytest.raises(ShapeError, match=r"DiagonalNormal: expected states of shape \(batch, 2\)"):
        DiagonalNormal(PLANE).log_prob(torch.zeros(5, 3))
    with pytest.raises(OptionError, match="ConditionalNormal: expected a context; got none"):
        ConditionalNormal(PLANE, torch.nn.Linear(3, 4)).sample(2)
    with pytest.raises(ShapeError, match=r"expected the net to return \(5, 4\); got \(5, 3\)"):
        ConditionalNormal(PLANE, torch.nn.Linear(3, 3)).sample(5, torch.zeros(5, 3))
    with pytest.raises(OptionError, match="symmetric, positive definite"):
        FullNormal(PLANE, covariance=-torch.eye(2))
    with pytest.raises(ShapeError, match=r"expected a covariance \(2, 2\); got \(3, 3\)"):
        FullNormal(PLANE, covariance=torch.eye(3))
    with pytest.raises(ShapeError, match=r"expected a weight \(2, k\); got \(3, 1\)"):
        PCANormal(PLANE, torch.ones(3, 1))
    with pytest.raises(OptionError, match="expected a positive sigma; got 0"):
        PCANormal(PLANE, torch.ones(2, 1), 0.0)
    with pytest.raises(OptionError, match="Mixture: expected at least one component"):
        Mixture([])
    with pytest.raises(DomainError, match="expected component 1 on"):
        Mixture([line, circle])
    with pytest.raises(ShapeError, match="expected 1 weights"):
        Mixture([line], torch.ones(2))
    with pytest.raises(OptionError, match=r"expected positive weights; got \[0.0\]"):
        Mixture([line], torch.zeros(1))
    with pytest.raises(ShapeError, match=r"expected locations \(K, 2\); got \(2, 3\)"):
        GaussianMixture(PLANE, torch.zeros(2, 3))
    with pytest.raises(DomainError, match="GaussianMixture: expected real coordinates"):
        GaussianMixture(Domain.circle(1), torch.zeros(2, 1))
    with pytest.raises(OptionError, match="GaussianMixture: expected positive scales"):
        GaussianMixture(PLANE, torch.zeros(2, 2), torch.tensor(-1.0))
    with pytest.raises(DomainError, match="Product: expected at least one component"):
        Product([])
    with pytest.raises(DomainError, match="expected one domain"):
        LinearInterpolation(line, circle, 0.5)
    with pytest.raises(OptionError, match="Resampled: expected a truncation of at least 2; got 1"):
        Resampled(line, torch.nn.Linear(1, 1), truncation=1)
    with pytest.raises(OptionError, match=r"expected a decay in \(0, 1\]; got 0"):
        Resampled(line, torch.nn.Linear(1, 1), decay=0.0)
    with pytest.raises(ShapeError, match=r"expected the acceptance to return \(1024, 1\) logits; got \(1024, 2\)"):
        Resampled(line, torch.nn.Linear(1, 2))
    with pytest.raises(OptionError, match="at least 2 proposals"):
        Resampled(line, torch.nn.Linear(1, 1)).estimate_normalization(1)
    with pytest.raises(ShapeError, match=r"ImageDensity: expected \(rows, columns\)"):
        ImageDensity(torch.ones(3))
    with pytest.raises(OptionError, match="expected finite, non-negative pixels"):
        ImageDensity(-torch.ones(2, 2))
    with pytest.raises(OptionError, match=r"expected a fraction in \[0, 1\]; got 2"):
        LinearInterpolation(line, line, 2.0)


def test_a_state_dict_says_how_many_knots_there_are() -> None:
    domain = Domain.interval(-1.0, 2.0)
    fine, coarse = (
        Tabulated(domain, torch.linspace(-1.0, 2.0, n)[None], torch.arange(1.0, n + 1.0)[None]) for n in (9, 4)
    )
    x = torch.linspace(-1.0, 2.0, 50)[:, None]
    coarse.load_state_dict(fine.state_dict())
    torch.testing.assert_close(coarse.log_prob(x), fine.log_prob(x), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Tabulated(domain + domain, fine.knots.repeat(2, 1), fine.values.repeat(2, 1)).load_state_dict(fine.state_dict())


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantiles_of_tables_undo_their_cumulative_distribution(dtype: torch.dtype) -> None:
    domain = Domain.interval(-1.0, 2.0) + Domain.circle(1)
    knots = torch.stack([torch.linspace(-1.0, 2.0, 9), torch.linspace(-math.pi, math.pi, 9)])
    base = Tabulated(domain, knots, torch.rand(2, 9, generator=torch.Generator().manual_seed(0)) + 0.1).to(dtype)
    x, log_q = base.sample(2000, generator=torch.Generator().manual_seed(1))
    share = base.cumulative(x)
    torch.testing.assert_close(base.quantile(share), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        base.cumulative(x + torch.tensor([0.0, 2 * math.pi], dtype=dtype)), share, atol=1e-5, rtol=0
    )
    ends = torch.tensor([[-1.0, -math.pi], [2.0, math.pi - 1e-6]], dtype=dtype)
    torch.testing.assert_close(base.cumulative(ends).sum(1), torch.tensor([0.0, 2.0], dtype=dtype), atol=1e-5, rtol=0)
    # The density is the slope of the cumulative distribution.
    step = 1e-3
    slope = (base.cumulative(x[:100] + step / 2) - base.cumulative(x[:100] - step / 2)) / step
    inside = (x[:100, 0] > -0.99) & (x[:100, 0] < 1.99) & (x[:100, 1].abs() < 3.13)
    torch.testing.assert_close(slope.prod(1).log()[inside], log_q[:100][inside], atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1e3, 1e10, 1e20, 1e30])
def test_gradients_of_a_mixture_far_out_are_those_of_its_nearest_mode(size: float, dtype: torch.dtype) -> None:
    """Beyond the squares that the dtype can hold too, where the log-density itself is −∞."""
    scales = torch.tensor([[0.5, 0.5], [2.0, 2.0], [1.0, 1.0]])
    mixture = GaussianMixture(PLANE, torch.tensor([[-2.0, 0.5], [1.0, 1.0], [0.5, -2.0]]), scales).to(dtype)
    x = size * torch.tensor([[1.0, 0.3], [-0.2, -1.0], [0.0, 0.0]], dtype=dtype)
    x.requires_grad_()
    log_prob = mixture.log_prob(x)
    (score,) = torch.autograd.grad(log_prob.sum(), x, create_graph=True)
    assert torch.allclose(score[:2], -(x[:2] - 1.0) / 4.0, rtol=1e-2 if size < 1e4 else 1e-5)
    (second,) = torch.autograd.grad(score.sum(), x)
    assert second.isfinite().all()
    alone = DiagonalNormal(PLANE).to(dtype)
    assert torch.equal(log_prob.isfinite(), alone.log_prob(0.5 * x).isfinite())
