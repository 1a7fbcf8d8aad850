"""Kernels leave their density invariant; adaptation, reflections, paths and rejection do what they say."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from boltzflow.core import Domain
from boltzflow.core.distributions import Independent
from boltzflow.core.kernels import (
    GeometricPath,
    HamiltonianMonteCarlo,
    Langevin,
    RandomWalk,
    UnderdampedLangevin,
    adapt_step_size,
)
from boltzflow.core.kernels.trajectory import drift, log_prob_and_score
from boltzflow.errors import OptionError, ShapeError
from boltzflow.testing import check_density, random_states
from tests.core.registry import KERNELS
from tests.core.registry.stochastic import DOMAIN, Coupled


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observables(x: Tensor) -> Tensor:
    """First and second moments on the line and the interval, two harmonics on the circle, and products."""
    line, angle, bond = x.T
    circle = [angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()]
    return torch.stack([line, line**2, bond, bond**2, *circle, line * bond, line * angle.sin(), bond * angle.cos()], 1)


def normal(x: Tensor) -> Tensor:
    return -0.5 * x.flatten(1).square().sum(1)


# -- kernels -----------------------------------------------------------------------------------------


def test_the_test_density_is_normalised_and_its_samples_are_exact() -> None:
    """Else the tests below would prove nothing: quadrature, and moments of 200 000 samples against it."""
    density = Coupled()
    check_density(density.log_prob, DOMAIN, points=70)
    x, _ = density.sample(200_000, generator=generator())
    assert DOMAIN.contains(x).all()
    n = 80
    axes = [torch.linspace(-7.0, 7.0, 2 * n + 1)[1::2], torch.linspace(-math.pi, math.pi, 2 * n + 1)[1::2]]
    grid = torch.cartesian_prod(*axes, torch.linspace(0.0, 1.0, 2 * n + 1)[1::2]).double()
    mass = density.log_prob(grid).softmax(0)
    seen = observables(x)
    z = (seen.mean(0) - mass @ observables(grid)) / (seen.var(0) / len(x)).sqrt()
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_leaves_its_density_invariant(name: str) -> None:
    """Two calls from exact samples: paired z-scores of moments after against before, 100 000 chains."""
    density, kernel, random = Coupled(), KERNELS[name]().double(), generator(1)
    before, _ = density.sample(100_000, generator=random)
    with torch.no_grad():
        move = kernel(before, density.log_prob, generator=random)
        move = kernel(move.x, density.log_prob, momentum=move.momentum, generator=random)
    assert DOMAIN.contains(move.x).all()
    assert 0.15 < move.acceptance.mean() < 0.995
    assert (move.x != before).any(1).double().mean() > 0.5
    change = observables(move.x) - observables(before)
    z = change.mean(0) / (change.var(0) / len(change)).sqrt()
    assert z.abs().max() < 4.5, f"z-scores {z.tolist()}"
    assert (move.log_weight == 0.0).all()


@pytest.mark.parametrize("name", KERNELS)
def test_log_ratio_of_a_kernel_in_balance_is_the_change_of_log_prob(name: str) -> None:
    density, kernel = Coupled(), KERNELS[name]().double()
    x, start = density.sample(100, generator=generator())
    move = kernel(x, density.log_prob, generator=generator(1))
    torch.testing.assert_close(move.log_ratio, start - density.log_prob(move.x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_keeps_dtype_and_restores_from_its_state_dict(name: str, dtype: torch.dtype) -> None:
    kernel, other = KERNELS[name]().to(dtype), KERNELS[name]().to(dtype)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.mul_(0.9)
    other.load_state_dict(kernel.state_dict())
    x = random_states(DOMAIN, 50, dtype=dtype, generator=generator())
    one, two = (k(x, Coupled().log_prob, generator=generator(1)) for k in (kernel, other))
    assert one.x.dtype == one.log_ratio.dtype == one.acceptance.dtype == dtype
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.log_ratio, two.log_ratio)


def test_kernels_take_arrays() -> None:
    domain = Domain.real((2, 3))
    x = torch.randn(20_000, 2, 3, dtype=torch.float64, generator=generator())
    for kernel in (RandomWalk(domain, 0.5, 3), HamiltonianMonteCarlo(domain, 0.6, mass=2.0), Langevin(domain, 0.8)):
        move = kernel.double()(x, normal, generator=generator(1))
        assert move.x.shape == x.shape
        change = (move.x.square() - x.square()).flatten(1)
        assert (change.mean(0) / (change.var(0) / len(x)).sqrt()).abs().max() < 4.5


def test_langevin_ratio_is_the_explicit_formula() -> None:
    """log N(x | x′ + ½ε²∇log π(x′), ε²) − log N(x′ | x + ½ε²∇log π(x), ε²) on the line."""
    domain, epsilon = Domain.real(2), torch.tensor([0.3, 0.7], dtype=torch.float64)

    def log_prob(x: Tensor) -> Tensor:
        return -(x[:, 0] ** 4) + x[:, 0] * x[:, 1] - x[:, 1] ** 2

    def log_step(x: Tensor, y: Tensor) -> Tensor:
        mean = x + 0.5 * epsilon**2 * log_prob_and_score(log_prob, domain, x)[1]
        return torch.distributions.Normal(mean, epsilon).log_prob(y).sum(1)

    x = torch.randn(50, 2, dtype=torch.float64, generator=generator())
    move = Langevin(domain, epsilon, adjusted=False).double()(x, log_prob, generator=generator(1))
    expected = log_step(move.x, x) - log_step(x, move.x)
    torch.testing.assert_close(move.log_ratio, expected, rtol=1e-6, atol=1e-6)  # ε is stored in single precision
    torch.testing.assert_close(move.log_weight, log_prob(move.x) - log_prob(x) + move.log_ratio)
    accept = (expected + log_prob(move.x) - log_prob(x)).clamp(max=0.0).exp()
    torch.testing.assert_close(move.acceptance, accept, rtol=1e-6, atol=1e-6)


def test_underdamped_ratio_is_the_explicit_formula() -> None:
    """Two steps with a given momentum: momenta and noises as Gaussian densities, joined to those of the ends."""
    domain, epsilon, friction, mass = Domain.real(1), 0.5, 0.8, 2.0
    memory = math.exp(-friction * epsilon)
    density = torch.distributions.Normal(0.0, math.sqrt(mass))
    log_prob = normal
    kernel = UnderdampedLangevin(domain, epsilon, 2, friction=friction, mass=mass, adjusted=False).double()
    x = torch.randn(20, 1, dtype=torch.float64, generator=generator())
    start = math.sqrt(mass) * torch.randn(20, 1, dtype=torch.float64, generator=generator(1))
    move = kernel(x, log_prob, momentum=start, generator=generator(2))
    random, at, momentum, log_do, log_undo = generator(2), x, start, 0.0, 0.0
    for _ in range(2):
        thermostat = torch.distributions.Normal(memory * momentum, math.sqrt(mass * (1 - memory**2)))
        noise = math.sqrt(mass) * torch.randn(20, 1, dtype=torch.float64, generator=random)
        torch.rand(20, dtype=torch.float64, generator=random)  # the Metropolis test that is not asked
        kicked = memory * momentum + math.sqrt(1 - memory**2) * noise
        log_do = log_do + thermostat.log_prob(kicked)
        back = torch.distributions.Normal(memory * kicked, math.sqrt(mass * (1 - memory**2)))
        log_undo = log_undo + back.log_prob(momentum)
        half = kicked - 0.5 * epsilon * at
        at = at + epsilon * half / mass
        momentum = half - 0.5 * epsilon * at
    torch.testing.assert_close(move.x, at, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(move.momentum, momentum, rtol=1e-6, atol=1e-6)
    expected = (log_undo - log_do + density.log_prob(momentum) - density.log_prob(start)).squeeze(1)
    torch.testing.assert_close(move.log_ratio, expected, rtol=1e-6, atol=1e-6)


def test_failed_proposals_are_rejected_and_gradients_stay_finite() -> None:
    """A wall of +∞ energy with NaN forces, a hole that is NaN: chains stay out, gradients of the others survive."""

    def log_prob(x: Tensor) -> Tensor:
        wall = torch.where(x[:, 0] > 0.5, (0.5 - x[:, 0]).sqrt(), 0.0)  # NaN, and a NaN gradient
        return normal(x) + wall + torch.where(x[:, 0] < -0.5, torch.inf, 0.0)

    domain = Domain.real(2)
    for kernel in (
        RandomWalk(domain, 0.5, 10, trainable=True),
        HamiltonianMonteCarlo(domain, 0.5, 5, trainable=True),
        Langevin(domain, 0.5, 10, trainable=True),
    ):
        x = torch.zeros(200, 2, requires_grad=True)
        move = kernel(x, log_prob, generator=generator())
        assert (move.x[:, 0].abs() <= 0.5).all()
        assert move.log_ratio.isfinite().all()
        assert 0.0 < move.acceptance.mean() < 1.0
        (move.x.sum() + move.log_ratio.sum()).backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in kernel.parameters())


def test_steps_that_overflow_have_weight_zero() -> None:
    domain = Domain.real(1)
    kernel = Langevin(domain, 1e3, steps=20, adjusted=False)
    move = kernel(torch.ones(10, 1), lambda x: -x.pow(4).sum(1), generator=generator())
    assert move.x.isfinite().all()
    assert (move.log_ratio == -torch.inf).all()
    rejected = HamiltonianMonteCarlo(domain, 1e3, leapfrog_steps=20)(torch.ones(10, 1), lambda x: -x.pow(4).sum(1))
    assert (rejected.x == 1.0).all()
    assert (rejected.log_ratio == 0.0).all()


def test_chains_that_start_outside_the_support_come_in() -> None:
    domain = Domain.real(1)
    move = RandomWalk(domain, 1.0, 50)(
        torch.full((100, 1), 2.0), lambda x: torch.where(x[:, 0] < 1.0, 0.0, -torch.inf), generator=generator()
    )
    assert (move.x < 1.0).all()
    assert (move.log_ratio == -torch.inf).all()  # there is no way back


def test_kernels_say_what_is_wrong() -> None:
    domain = Domain.real(2)
    with pytest.raises(OptionError, match="RandomWalk: expected a positive, finite step_size; got -1"):
        RandomWalk(domain, -1.0)
    with pytest.raises(ShapeError, match=r"Langevin: expected step_size of shape \(2,\); got \(3,\)"):
        Langevin(domain, torch.ones(3))
    with pytest.raises(OptionError, match="at least one step; got 0"):
        RandomWalk(domain, 1.0, steps=0)
    with pytest.raises(OptionError, match="at least one leapfrog step; got 0"):
        HamiltonianMonteCarlo(domain, 1.0, leapfrog_steps=0)
    with pytest.raises(OptionError, match=r"expected refresh in \(0, 1\]; got 0"):
        HamiltonianMonteCarlo(domain, 1.0, refresh=0.0)
    with pytest.raises(OptionError, match="positive friction; got 0"):
        UnderdampedLangevin(domain, 1.0, friction=0.0)
    with pytest.raises(OptionError, match="positive max_score; got -1"):
        Langevin(domain, 1.0, max_score=-1.0)
    with pytest.raises(OptionError, match=r"target acceptance in \(0, 1\); got 1.5"):
        adapt_step_size(RandomWalk(domain, 1.0), torch.zeros(4, 2), normal, target_acceptance=1.5)


# -- motion in a domain ------------------------------------------------------------------------------


def test_flight_is_reflected_reversible_and_keeps_volumes() -> None:
    x = random_states(DOMAIN, 500, generator=generator())
    displacement = 3.0 * torch.randn(500, 3, dtype=torch.float64, generator=generator(1))
    y, sign = drift(DOMAIN, x, displacement)
    assert DOMAIN.contains(y).all()
    again, sign_back = drift(DOMAIN, y, -sign * displacement)
    torch.testing.assert_close(DOMAIN.difference(again, x), torch.zeros_like(x), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(sign_back, sign)
    assert (sign[:, 2] == -1.0).any()
    assert (sign[:, :2] == 1.0).all()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(drift(DOMAIN, leaf, displacement)[0].sum(), leaf)
    assert torch.equal(slope, sign)  # each coordinate flies by itself: the Jacobian is diagonal, ± 1


def test_flight_near_the_ends() -> None:
    """By hand: up to an end, over it, over both, and standing on it."""
    domain = Domain.interval(1.0, 3.0)
    start = torch.tensor([[1.5], [1.5], [1.5], [1.5], [1.0], [3.0], [3.0]], dtype=torch.float64)
    move = torch.tensor([[0.25], [-0.75], [2.0], [4.0], [-0.5], [0.5], [0.0]], dtype=torch.float64)
    y, sign = drift(domain, start, move)
    assert y.squeeze(1).tolist() == [1.75, 1.25, 2.5, 1.5, 1.5, 2.5, 3.0]
    assert sign.squeeze(1).tolist()[:6] == [1.0, -1.0, -1.0, 1.0, -1.0, -1.0]


# -- adaptation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.4, 0.65])
@pytest.mark.parametrize(
    "make",
    [partial(RandomWalk, steps=2), partial(HamiltonianMonteCarlo, leapfrog_steps=3), Langevin],
    ids=["random walk", "HMC", "MALA"],
)
@pytest.mark.parametrize("first", [1e-3, 30.0])
def test_adaptation_reaches_the_acceptance(make, target: float, first: float) -> None:
    """From far too small and far too large: mean acceptance of 20 000 fresh chains within 0.03 of the target."""
    kernel, random, domain = make(Domain.real(3), first), generator(2), Domain.real(3)
    scales = torch.tensor([1.0, 2.0, 0.5])
    density = Independent(domain, width=scales)
    x, _ = density.sample(500, generator=random)
    adapt_step_size(kernel, x, density.log_prob, target_acceptance=target, iterations=100, generator=random)
    with torch.no_grad():
        x, _ = density.sample(20_000, generator=random)
        acceptance = kernel(x, density.log_prob, generator=random).acceptance.mean()
    assert acceptance == pytest.approx(target, abs=0.03)


# -- paths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_path_and_its_gradient_are_exact(alpha: float) -> None:
    """Between two normals: the closed form of (1 − λ) log q + λ log(p^α q^(1−α)), and of its gradient."""
    domain = Domain.real(1)
    start = Independent(domain, torch.tensor([0.5]), torch.tensor([2.0])).double()
    end = Independent(domain, torch.tensor([-1.0]), torch.tensor([0.7])).double()
    path = GeometricPath(start, end, alpha)
    x = torch.linspace(-4.0, 4.0, 41, dtype=torch.float64)[:, None].requires_grad_()
    for fraction in (0.0, 0.3, 1.0):
        log_prob = path.log_prob(x, fraction=fraction)
        log_q = -0.5 * ((x - 0.5) / 2.0) ** 2 - math.log(2.0 * math.sqrt(2 * math.pi))
        log_p = -0.5 * ((x + 1.0) / 0.7) ** 2 - math.log(0.7 * math.sqrt(2 * math.pi))
        log_g = alpha * log_p + (1 - alpha) * log_q
        expected = ((1 - fraction) * log_q + fraction * log_g).squeeze(1)
        torch.testing.assert_close(log_prob, expected, rtol=1e-6, atol=1e-6)
        score_q, score_p = -(x - 0.5) / 4.0, -(x + 1.0) / 0.49
        exact = (1 - fraction) * score_q + fraction * (alpha * score_p + (1 - alpha) * score_q)
        (score,) = torch.autograd.grad(log_prob.sum(), x)
        torch.testing.assert_close(score, exact.detach(), rtol=1e-6, atol=1e-6)
    slope = (path.log_prob(x, fraction=0.8) - path.log_prob(x, fraction=0.2)) / 0.6
    torch.testing.assert_close(path.slope(x), slope)


def test_path_has_density_zero_where_an_end_that_counts_has() -> None:
    domain = Domain.interval(0.0, 1.0)
    start = Independent(Domain.real(1)).double()
    path = GeometricPath(start, Independent(domain).double(), alpha=2.0)
    x = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    assert path.log_prob(x, fraction=0.5).isfinite().tolist() == [True, False]
    assert path.log_prob(x, fraction=0.0).isfinite().all()
    assert path.slope(x)[1] == -torch.inf
    assert not GeometricPath(Independent(domain), start).log_prob(x, fraction=0.5).isnan().any()
    with pytest.raises(OptionError, match=r"expected a fraction in \[0, 1\]; got 1.5"):
        path.log_prob(x, fraction=1.5)
    with pytest.raises(OptionError, match="expected a finite alpha; got inf"):
        GeometricPath(start, start, math.inf)
