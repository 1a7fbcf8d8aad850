"""Annealed importance sampling, sequential Monte Carlo and rejection against exact normalising constants."""

import math

import pytest
import torch
from torch import Tensor

from boltzflow.core import Domain, importance, recipes
from boltzflow.core.distributions import Independent
from boltzflow.core.kernels import HamiltonianMonteCarlo, Langevin, RandomWalk, UnderdampedLangevin, adjust_step_size
from boltzflow.core.samplers import (
    AdaptiveSchedule,
    annealed_importance_sampling,
    geometric_schedule,
    linear_schedule,
    rejection_sampling,
    sequential_monte_carlo,
)
from boltzflow.errors import NonFiniteError, OptionError
from boltzflow.testing import randomize_parameters
from tests.core.registry.stochastic import DOMAIN, STEP, Coupled

BASE = Independent(DOMAIN, torch.tensor([0.3, 1.0, 0.6]), torch.tensor([1.3, 2.0, torch.inf])).double()
LOG_FACTOR = 5.0

KERNELS = {
    "random walk": lambda: RandomWalk(DOMAIN, STEP, 2),
    "HMC": lambda: HamiltonianMonteCarlo(DOMAIN, STEP, leapfrog_steps=2, mass=torch.tensor([2.0, 0.5, 1.0])),
    "Hamiltonian AIS": lambda: HamiltonianMonteCarlo(DOMAIN, STEP, leapfrog_steps=1, refresh=0.3),
    "MALA": lambda: Langevin(DOMAIN, STEP, 2),
    "unadjusted Langevin": lambda: Langevin(DOMAIN, 0.5 * STEP, 2, adjusted=False),
    "underdamped Langevin": lambda: UnderdampedLangevin(DOMAIN, STEP, 2),
    "unadjusted underdamped Langevin": lambda: UnderdampedLangevin(DOMAIN, 0.5 * STEP, 2, adjusted=False),
}


class Unnormalised:
    """The coupled density times e^5, with a failed corner: no state there may harm the others."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.where(x[:, 0] > 8.0, torch.nan, Coupled().log_prob(x) + LOG_FACTOR)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_log_z(alpha: float) -> float:
    """log ∫ p^α q^(1−α) by the midpoint rule."""
    n = 80
    like = torch.empty(0, dtype=torch.float64)
    line = 18.0 * (torch.arange(2 * n, dtype=torch.float64) + 0.5) / (2 * n) - 9.0
    axes = [line] + [
        low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
        for low, high in zip(DOMAIN.lows(like)[1:], DOMAIN.highs(like)[1:], strict=True)
    ]
    grid = torch.cartesian_prod(*axes)
    cell = math.prod((axis[1] - axis[0]).item() for axis in axes)
    log_g = alpha * (Coupled().log_prob(grid) + LOG_FACTOR) + (1 - alpha) * BASE.log_prob(grid)
    return log_g.logsumexp(0).item() + math.log(cell)


@pytest.fixture(scope="module")
def log_z() -> dict[float, float]:
    return {alpha: exact_log_z(alpha) for alpha in (0.5, 1.0, 2.0, 3.0)}


def test_quadrature_knows_the_normalised_case(log_z: dict[float, float]) -> None:
    assert log_z[1.0] == pytest.approx(LOG_FACTOR, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("name", KERNELS)
def test_mean_weight_is_the_normalising_constant(name: str, alpha: float, log_z: dict[float, float]) -> None:
    """z-score of the mean weight, of 10 000 samples, against quadrature; weights must have become narrower too."""
    options = {"alpha": alpha, "generator": generator(3)}
    samples = annealed_importance_sampling(
        BASE, Unnormalised(), linear_schedule(6), KERNELS[name]().double(), 10_000, **options
    )
    relative = (samples.log_weights - log_z[alpha]).exp()
    error = relative.std() / math.sqrt(len(relative))
    assert error < 0.05
    assert abs(relative.mean() - 1.0) < 4.5 * error, f"mean {relative.mean():.4f} ± {error:.4f}"
    plain = annealed_importance_sampling(BASE, Unnormalised(), [0.0, 1.0], KERNELS[name](), 10_000, **options)
    assert importance.effective_sample_size(samples.log_weights) > importance.effective_sample_size(plain.log_weights)
    assert len(samples.acceptance) == 5
    assert len(samples.ess) == 6
    assert torch.equal(samples.ancestors, torch.arange(10_000))


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_weighted_samples_follow_the_end_of_the_path(alpha: float) -> None:
    """Weighted means, of 50 000 samples, against those of plain importance sampling from 400 000: z-scores."""

    def seen(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], x[:, 0] ** 2, x[:, 1].cos(), x[:, 1].sin(), x[:, 2]], 1)

    samples = annealed_importance_sampling(
        BASE, Unnormalised(), linear_schedule(5), KERNELS["HMC"]().double(), 50_000, alpha=alpha, generator=generator(5)
    )
    mean, error = importance.weighted_mean(seen(samples.x), samples.log_weights)
    x, _ = Coupled().sample(400_000, generator=generator(6))
    log_w = (alpha - 1.0) * (Coupled().log_prob(x) - BASE.log_prob(x))
    exact, exact_error = importance.weighted_mean(seen(x), log_w)
    z = (mean - exact) / (error**2 + exact_error**2).sqrt()
    assert z.abs().max() < 4.5, f"z-scores {z.tolist()}"


def test_a_kernel_for_each_level() -> None:
    kernels = [RandomWalk(DOMAIN, STEP * scale) for scale in (1.5, 0.2)]
    samples = annealed_importance_sampling(BASE, Coupled(), linear_schedule(3), kernels, 2000, generator=generator())
    assert samples.acceptance[0] < samples.acceptance[1]
    with pytest.raises(OptionError, match="Expected 3 kernels, one for each intermediate level; got 2"):
        annealed_importance_sampling(BASE, Coupled(), linear_schedule(4), kernels, 10)
    with pytest.raises(OptionError, match="one kernel for all levels of an AdaptiveSchedule"):
        annealed_importance_sampling(BASE, Coupled(), AdaptiveSchedule(), kernels, 10)


def test_each_level_adapts_to_its_own_acceptance() -> None:
    """As the docs say: the acceptance of each level to its kernel, a few times; then within 0.05 of the target."""
    domain = Domain.real(2)
    base, target = (Independent(domain, width=torch.tensor([w, w])) for w in (2.0, 0.5))
    kernels = [RandomWalk(domain, 0.2, steps=3) for _ in range(3)]
    random = generator()

    def acceptance() -> Tensor:
        return annealed_importance_sampling(
            base, target, [0.0, 0.1, 0.3, 0.6, 1.0], kernels, 500, generator=random
        ).acceptance

    for _ in range(40):
        for kernel, accepted in zip(kernels, acceptance(), strict=True):
            adjust_step_size(kernel, accepted, 0.4, rate=1.0)
    torch.testing.assert_close(acceptance(), torch.full((3,), 0.4), atol=0.05, rtol=0.0)
    sizes = [kernel.step_size(torch.zeros(1))[0, 0].item() for kernel in kernels]
    assert sizes == sorted(sizes, reverse=True)  # the narrower the density, the shorter the steps


def test_a_flow_can_be_the_base_and_context_reaches_all() -> None:
    """A conditional flow in single precision, and a target with the context as its mean: log Z of 4000 samples."""
    domain = Domain.real(2)
    flow = recipes.spline_flow(domain, layers=2, hidden=(8,), bins=4, context_size=1)
    randomize_parameters(flow, scale=0.3)

    class Target:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            assert context is not None
            return -0.5 * (x - context).square().sum(1)

    context = torch.linspace(-0.5, 0.5, 4000)[:, None]
    kernel = HamiltonianMonteCarlo(domain, 0.5, leapfrog_steps=2, context_size=1)
    samples = annealed_importance_sampling(
        flow, Target(), linear_schedule(4), kernel, 4000, context=context, generator=generator()
    )
    assert samples.x.dtype == torch.float32
    assert not samples.x.requires_grad
    value, error = samples.log_z()
    assert abs(value - math.log(2 * math.pi)) < 4.5 * error
    with pytest.raises(OptionError, match="expected the same context for all samples"):
        sequential_monte_carlo(flow, Target(), linear_schedule(4), kernel, 4000, context=context)


@pytest.mark.parametrize("name", ["Hamiltonian AIS", "unadjusted Langevin"])
def test_log_z_of_sequential_monte_carlo_and_its_error(name: str) -> None:
    """60 runs of 300 samples that resample often: unbiased Z as a z-score, and errors as large as the scatter."""
    base = Independent(DOMAIN, torch.tensor([0.0, 0.0, 0.5]), torch.tensor([4.0, torch.inf, torch.inf])).double()
    kernel, random, runs = KERNELS[name]().double(), generator(7), 60
    ratios, errors, resampled = [], [], 0
    for _ in range(runs):
        samples = sequential_monte_carlo(
            base, Unnormalised(), geometric_schedule(5, 0.1), kernel, 300, resample_below=0.8, generator=random
        )
        value, error = samples.log_z()
        resampled += len(samples.ancestors.unique()) < 300
        ratios.append(math.exp(value - LOG_FACTOR))
        errors.append(error)
    ratio, error = torch.tensor(ratios), torch.tensor(errors)
    assert resampled == runs
    assert abs(ratio.mean() - 1.0) < 4.5 * ratio.std() / math.sqrt(runs)
    assert 0.75 < error.square().mean().sqrt() / ratio.log().std() < 1.5


def test_without_resampling_the_error_is_that_of_the_weights() -> None:
    samples = annealed_importance_sampling(BASE, Coupled(), linear_schedule(2), KERNELS["HMC"](), 500)
    assert samples.log_z() == pytest.approx(importance.log_mean_weight(samples.log_weights))


# -- schedules ---------------------------------------------------------------------------------------


def test_schedules() -> None:
    assert linear_schedule(2) == (0.0, 0.5, 1.0)
    assert geometric_schedule(4, 0.125) == pytest.approx((0.0, 0.125, 0.25, 0.5, 1.0))
    for bad in ([0.0, 0.5], [0.0, 0.5, 0.5, 1.0], [0.1, 1.0], [1.0]):
        with pytest.raises(OptionError, match="ascends from 0 to 1"):
            annealed_importance_sampling(BASE, Coupled(), bad, KERNELS["HMC"](), 10)
    with pytest.raises(OptionError, match="at least one level; got 0"):
        linear_schedule(0)
    with pytest.raises(OptionError, match="at least 2 levels and first in"):
        geometric_schedule(1)
    with pytest.raises(OptionError, match=r"expected ess in \(0, 1\); got 1"):
        AdaptiveSchedule(ess=1.0)
    with pytest.raises(OptionError, match=r"resample_below in \[0, 1\]; got 2"):
        sequential_monte_carlo(BASE, Coupled(), [0.0, 1.0], KERNELS["HMC"](), 10, resample_below=2.0)


def test_adaptive_schedule_keeps_the_effective_sample_size() -> None:
    """From wide to narrow in two steps of one run each: levels found, then used; log Z of 20 000 samples."""
    domain = Domain.real(2)
    base = Independent(domain, width=torch.tensor([5.0, 5.0])).double()
    target = Independent(domain, torch.tensor([3.0, -3.0]), torch.tensor([0.3, 0.3])).double()
    kernel = HamiltonianMonteCarlo(domain, 0.3, leapfrog_steps=5).double()
    found = sequential_monte_carlo(
        base, target, AdaptiveSchedule(ess=0.8), kernel, 4000, resample_below=1.0, generator=generator()
    )
    assert len(found.fractions) > 5
    # Everything was resampled at each level, so the size on arrival is the conditional one.
    torch.testing.assert_close(found.ess[:-1], torch.full_like(found.ess[:-1], 0.8), rtol=1e-3, atol=0.0)
    assert found.ess[-1] >= 0.8
    again = sequential_monte_carlo(base, target, found.fractions, kernel, 20_000, generator=generator(1))
    value, error = again.log_z()
    assert abs(value) < 4.5 * error
    with pytest.raises(NonFiniteError, match="expected λ = 1 within 3 levels"):
        sequential_monte_carlo(base, target, AdaptiveSchedule(ess=0.9, max_levels=3), kernel, 100)


def test_a_target_that_is_zero_at_each_sample_is_reported() -> None:
    domain = Domain.real(1)

    class Nowhere:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return torch.full_like(x[:, 0], -torch.inf)

    with pytest.raises(NonFiniteError, match="expected positive weights beyond λ = 0"):
        sequential_monte_carlo(Independent(domain), Nowhere(), AdaptiveSchedule(), RandomWalk(domain, 1.0), 10)
    samples = annealed_importance_sampling(
        Independent(domain), Nowhere(), linear_schedule(3), RandomWalk(domain, 1.0), 10
    )
    assert (samples.log_weights == -torch.inf).all()
    with pytest.raises(NonFiniteError, match="at least one positive weight"):
        samples.log_z()


# -- rejection ---------------------------------------------------------------------------------------


def test_rejection_gives_exact_samples() -> None:
    """Moments of 100 000 samples against the normal they come from: z-scores; acceptance is Z over the bound."""
    domain = Domain.real(1)
    proposal = Independent(domain, width=torch.tensor([2.0])).double()

    class Target:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return -0.5 * (x[:, 0] - 0.5).square()

    # log p − log q is largest where x − ½ = x/4.
    log_bound = 1e-6 - 0.5 * (2 / 3 - 0.5) ** 2 + 0.5 * (2 / 3 / 2) ** 2 + math.log(2.0 * math.sqrt(2 * math.pi))
    x, acceptance = rejection_sampling(proposal, Target(), log_bound, 100_000, generator=generator())
    assert x.shape == (100_000, 1)
    noise = x[:, 0] - 0.5
    moments = torch.stack([noise, noise**2 - 1.0, noise**3, noise**4 - 3.0], 1)
    assert (moments.mean(0) / (moments.var(0) / len(x)).sqrt()).abs().max() < 4.5
    assert acceptance == pytest.approx(math.sqrt(2 * math.pi) / math.exp(log_bound), abs=0.01)
    with pytest.raises(OptionError, match="everywhere; a proposal exceeds it by"):
        rejection_sampling(proposal, Target(), log_bound - 0.1, 10_000, generator=generator())
    with pytest.raises(NonFiniteError, match="expected 5 samples; got 0 from"):
        rejection_sampling(proposal, Target(), 100.0, 5, max_rounds=3)


def test_rejection_gives_one_sample_for_each_context() -> None:
    domain = Domain.real(1)

    class Target:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            assert context is not None
            return torch.where((x[:, 0] - context[:, 0]).abs() < 0.1, 0.0, -torch.inf)

    context = torch.linspace(-1.0, 1.0, 300)[:, None]
    x, _ = rejection_sampling(Independent(domain), Target(), 3.0, 300, context=context, generator=generator())
    assert ((x - context).abs() < 0.1).all()
