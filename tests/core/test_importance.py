"""Weights against analytic answers: q = N(0, 1), p̃ = Z N(m, s²), where every moment is known."""

import math

import pytest
import torch

from boltzflow.core import importance as im
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from tests.scores import check_z_scores

LOG_Z, MEAN, WIDTH = 1.7, 0.4, 0.8


def gaussian_sample(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    log_target = LOG_Z - 0.5 * ((x - MEAN) / WIDTH) ** 2 - math.log(WIDTH)
    return x, log_target + 0.5 * x**2  # the factor √2π cancels


def relative_second_moment() -> float:
    """E_q[w²] / E_q[w]² by quadrature."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_q = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * ((x - MEAN) / WIDTH) ** 2 - math.log(WIDTH) - 0.5 * math.log(2 * math.pi)
    return torch.trapezoid((2 * log_p - log_q).exp(), x).item()


def test_effective_sample_size_has_its_analytic_limit():
    _, log_weights = gaussian_sample(400_000, seed=0)
    assert im.effective_sample_size(log_weights) == pytest.approx(1 / relative_second_moment(), rel=5e-3)


def test_effective_sample_size_at_the_extremes():
    assert im.effective_sample_size(torch.full((7,), -800.0)) == pytest.approx(1.0, abs=1e-12)
    assert im.effective_sample_size(torch.tensor([900.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert im.effective_sample_size(torch.full((3,), -torch.inf)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_estimates_agree_with_the_truth_within_their_errors(seed):
    x, log_weights = gaussian_sample(20_000, seed)
    log_z, error = im.log_mean_weight(log_weights)
    mean, mean_error = im.weighted_mean(torch.stack([x, x**2], 1), log_weights)
    truth = torch.tensor([MEAN, MEAN**2 + WIDTH**2], dtype=torch.float64)
    assert abs(log_z - LOG_Z) / error < 3.5
    assert ((mean - truth).abs() / mean_error).max() < 3.5


def test_stated_errors_are_the_scatter_of_repeats():
    """200 repeats of 2000 samples: the z-scores have standard deviation 1 ± 0.05."""
    scores = []
    for seed in range(200):
        x, log_weights = gaussian_sample(2000, 1000 + seed)
        log_z, error = im.log_mean_weight(log_weights)
        mean, mean_error = im.weighted_mean(x, log_weights)
        scores.append([(log_z - LOG_Z) / error, ((mean - MEAN) / mean_error).item()])
    spread = torch.tensor(scores).std(0)
    assert ((spread - 1).abs() < 0.18).all(), spread  # 3.5 standard errors of a standard deviation


def test_bootstrap_error_agrees_with_the_delta_method():
    x, log_weights = gaussian_sample(3000, seed=3)
    replicates = im.bootstrap(lambda w: (w * x).sum() / w.sum(), log_weights, 400, torch.Generator().manual_seed(0))
    _, error = im.weighted_mean(x, log_weights)
    assert replicates.std().item() == pytest.approx(error.item(), rel=0.15)  # 4 errors of a spread from 400


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_pareto_shape_of_pareto_weights(shape):
    """Weights u^−k have a Pareto tail of shape k; 600 tail samples give it to about (1 + k) / √600."""
    u = torch.rand(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert abs(im.pareto_shape(-shape * u.log()) - shape) < 3.5 * (1 + shape) / math.sqrt(600)


def test_pareto_shape_of_light_tails_is_small():
    u = torch.rand(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert im.pareto_shape(u.log()) < 0  # uniform weights: k = −1
    assert im.pareto_shape(torch.zeros(100)) == -math.inf
    assert math.isnan(im.pareto_shape(torch.zeros(10)))


@pytest.mark.parametrize(("n", "heavy"), [(2_000_000, 500), (100_000, 20)])
def test_a_few_weights_far_above_equal_ones_are_a_heavy_tail(n, heavy):
    log_weights = torch.zeros(n)
    log_weights[:heavy] = math.log(50.0)
    assert im.pareto_shape(log_weights) > 0.7


@pytest.mark.parametrize("clipped", [30, 79, 80, 104])
def test_clipped_weights_have_no_heavy_tail(clipped):
    log_weights = 0.3 * torch.randn(1200, generator=torch.Generator().manual_seed(0))
    assert im.pareto_shape(log_weights.clamp(max=log_weights.topk(clipped).values[-1])) < 0.5


def test_clipping_touches_the_top_fraction_only():
    log_weights = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    result = im.clipped(log_weights, 1e-3)
    assert (result != log_weights.double()).sum() == 49  # the smallest of the top 50 stays as it is
    assert im.effective_sample_size(result) > im.effective_sample_size(log_weights)
    assert torch.equal(im.clipped(log_weights, 0.0), log_weights.double())
    with pytest.raises(OptionError, match="fraction"):
        im.clipped(log_weights, 1.0)


@pytest.mark.parametrize("scheme", ["systematic", "residual", "multinomial"])
def test_counts_of_resampling_have_their_expectation(scheme):
    """400 draws of 50: mean counts as z-scores, their scatter as each scheme has it."""
    log_weights = torch.tensor([0.0, 1.0, -torch.inf, 2.0, -torch.inf, 2.3])
    expected = 50 * im.normalized_weights(log_weights)
    random = torch.Generator().manual_seed(0)
    draws = torch.stack(
        [torch.bincount(im.resample(log_weights, 50, random, scheme), minlength=6) for _ in range(400)]
    ).double()
    assert (draws.sum(1) == 50).all()
    assert (draws[:, [2, 4]] == 0).all()
    some = draws[:, [0, 1, 3, 5]]
    z = (some.mean(0) - expected[[0, 1, 3, 5]]) / some.std(0) * math.sqrt(400)
    assert z.abs().max() < 4
    away = (draws - expected).abs().max()
    if scheme == "systematic":
        assert away < 1
    elif scheme == "residual":
        assert (draws >= expected.floor()).all()
        assert away > 1
    else:  # binomial
        share = expected / 50
        variance = 50 * share * (1 - share)
        assert ((draws.var(0)[share > 0] / variance[share > 0] - 1).abs() < 0.3).all()


def test_residual_resampling_of_whole_numbers_is_certain():
    assert im.resample(torch.tensor([3.0, 1.0]).log(), 4, scheme="residual").tolist() == [0, 0, 0, 1]


def test_impossible_resampling_is_refused():
    with pytest.raises(OptionError, match="systematic, residual, multinomial; got 5 and 'stratified'"):
        im.resample(torch.zeros(3), 5, scheme="stratified")
    with pytest.raises(OptionError, match="n ≥ 1"):
        im.resample(torch.zeros(3), 0)


def test_errors_of_groups_are_those_of_their_independent_sums():
    """Each sample ten times: with the copies as groups errors stay what they were, without they are √10 too small."""
    x, log_weights = gaussian_sample(1000, seed=1)
    groups = torch.arange(1000).repeat(10)
    many, many_x = log_weights.repeat(10), x.repeat(10)
    once, with_groups = im.weighted_mean(x, log_weights), im.weighted_mean(many_x, many, groups)
    torch.testing.assert_close(with_groups, once)
    assert im.weighted_mean(many_x, many)[1] * math.sqrt(10) == pytest.approx(once[1].item(), rel=1e-3)
    assert im.log_mean_weight(many, groups)[1] >= im.log_mean_weight(log_weights)[1]
    assert im.log_mean_weight(many, groups)[0] == pytest.approx(im.log_mean_weight(log_weights)[0])
    assert im.weighted_mean(x, log_weights, torch.zeros(1000))[1] == math.inf
    with pytest.raises(ShapeError, match="one group for each of 1000 weights"):
        im.weighted_mean(x, log_weights, torch.zeros(999))


def test_errors_of_means_over_correlated_groups():
    """300 repeats of 40 groups of 25 samples that share half of their variance."""
    random, z = torch.Generator().manual_seed(0), []
    for _ in range(300):
        shared = torch.randn(40, 1, generator=random, dtype=torch.float64)
        x = (shared + torch.randn(40, 25, generator=random, dtype=torch.float64)).flatten()
        mean, error = im.weighted_mean(x, torch.zeros(1000), torch.arange(40).repeat_interleave(25))
        z.append((mean / error).item())
    check_z_scores(z)


def test_accepted_samples_are_those_of_the_target():
    """q = N(0, 1), p = N(0.3, 0.6²): 40 runs of 2000; the weights have a maximum, at 0.3 / (1 − 0.36)."""
    z, kept = [], []
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(2000, generator=random, dtype=torch.float64)
        log_weights = 0.5 * x**2 - 0.5 * ((x - 0.3) / 0.6) ** 2 - math.log(0.6)
        log_bound = 0.5 * 0.3**2 / (1 - 0.36) - math.log(0.6)
        found = x[im.accept(log_weights, log_bound, random)]
        kept.append(len(found))
        z += [(found.mean() - 0.3) / found.std() * math.sqrt(len(found))]
        z += [(found.var() / 0.36 - 1) / math.sqrt(2 / len(found))]
        assert len(im.accept(log_weights, log_weights.max().item(), random)) > 0
    check_z_scores(z)
    share = math.exp(-log_bound)  # of 80 000
    assert abs(sum(kept) / 80_000 - share) < 4 * math.sqrt(share * (1 - share) / 80_000)
    with pytest.raises(OptionError, match=r"up to the bound 0\.1; got one of"):
        im.accept(log_weights, 0.1)


def test_forward_and_reverse_effective_sample_sizes_agree_where_nothing_is_missed():
    """q = N(0, 1), p = N(0.4, 0.8²): by 400 000 samples of each."""
    x = MEAN + WIDTH * torch.randn(400_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    log_weights = LOG_Z - 0.5 * ((x - MEAN) / WIDTH) ** 2 - math.log(WIDTH) + 0.5 * x**2
    assert im.forward_effective_sample_size(log_weights, LOG_Z) == pytest.approx(1 / relative_second_moment(), rel=5e-3)
    log_weights[0] = math.inf
    assert im.forward_effective_sample_size(log_weights, LOG_Z) == 0.0


def test_perplexity_of_log_normal_weights():
    """Entropy of log-normal weights of spread s: log n − s²/2, where the effective size is e^−s²."""
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert im.perplexity(noise) == pytest.approx(math.exp(-0.5), rel=0.01)
    assert im.effective_sample_size(noise) == pytest.approx(math.exp(-1), rel=0.05)


def test_weight_zero_hides_a_value_that_is_not_a_number():
    values = torch.tensor([1.0, torch.nan, 3.0])
    mean, error = im.weighted_mean(values, torch.tensor([0.0, -torch.inf, 0.0]))
    assert mean == 2.0
    assert torch.isfinite(error)


@pytest.mark.parametrize("groups", [None, torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])])
def test_errors_of_log_z_are_those_of_leaving_groups_out(groups):
    """Of ten samples, the first with most of the weight; those that no group is left for left nothing."""
    log_weights = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_weights[0] += 5.0
    weights = log_weights.exp()
    members = torch.arange(10) if groups is None else groups
    without = torch.tensor([(weights.sum() - weights[members == group].sum()) / 9 for group in range(10)]).log()
    jackknife = math.sqrt(0.9 * (without - without.mean()).square().sum().item())
    assert im.log_mean_weight(log_weights, groups)[1] == pytest.approx(jackknife, rel=1e-6)
    assert jackknife > 1.0


def test_an_error_of_log_z_grows_with_the_largest_weight():
    """Delta errors are at most 1. With one weight of e^700 among thousand the rest say that log Z is 0."""
    errors = [
        im.log_mean_weight(torch.tensor([gap] + [0.0] * 999, dtype=torch.float64))[1] for gap in (20.0, 50.0, 700.0)
    ]
    assert errors == pytest.approx([20.0 - math.log(999), 50.0 - math.log(999), 700.0 - math.log(999)], rel=1e-3)


def test_errors_are_infinite_for_one_sample():
    assert im.log_mean_weight(torch.zeros(1)) == (0.0, math.inf)
    assert im.weighted_mean(torch.ones(2), torch.tensor([0.0, -torch.inf]))[1] == math.inf
    assert im.log_mean_weight(torch.tensor([0.0, -torch.inf]))[1] == math.inf


@pytest.mark.parametrize(
    ("log_weights", "error"),
    [
        (torch.tensor([0.0, torch.nan]), NonFiniteError),
        (torch.tensor([0.0, torch.inf]), NonFiniteError),
        (torch.full((2,), -torch.inf), NonFiniteError),
        (torch.zeros(2, 2), ShapeError),
        (torch.zeros(0), ShapeError),
    ],
)
def test_impossible_weights_are_refused(log_weights, error):
    with pytest.raises(error, match="Expected"):
        im.normalized_weights(log_weights)


def test_values_must_match_the_weights():
    with pytest.raises(ShapeError, match="one value for each of 3"):
        im.weighted_mean(torch.zeros(2), torch.zeros(3))


def test_a_quantile_is_the_first_value_that_reaches_its_share():
    values = torch.tensor([5.0, 1.0, 3.0, 9.0])
    log_weights = torch.tensor([0.25, 0.25, 0.5, 0.0]).log()
    found = [im.weighted_quantile(values, log_weights, share).item() for share in (0.2, 0.3, 0.74, 0.8, 0.999999)]
    assert found == [1.0, 3.0, 3.0, 5.0, 5.0]


def test_a_quantile_is_of_a_share_between_0_and_1():
    with pytest.raises(OptionError, match="between 0 and 1"):
        im.weighted_quantile(torch.arange(10.0), torch.zeros(10), 1.0)


def test_the_covariance_of_means_has_their_errors():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    log_weights = torch.randn(500, generator=generator, dtype=torch.float64)
    covariance = im.weighted_covariance(values, log_weights)
    _, errors = im.weighted_mean(values, log_weights)
    torch.testing.assert_close(covariance.diagonal().sqrt(), errors)
    _, of_difference = im.weighted_mean(values[:, 0] - values[:, 1], log_weights)
    torch.testing.assert_close((covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]).sqrt(), of_difference)


def test_a_bootstrap_of_too_few_samples_knows_no_error():
    log_weights = torch.full((50,), -torch.inf)
    log_weights[0] = 0.0
    _, error = im.bootstrap_mean(torch.ones(50), log_weights, 50, torch.Generator().manual_seed(0))
    assert error == math.inf


@pytest.mark.parametrize("dominance", [30.0, 50.0, 300.0])
def test_one_sample_that_dominates_is_as_uncertain_as_it_is_far_from_the_rest(dominance):
    values = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_weights = torch.zeros(1000)
    log_weights[0] = dominance
    mean, error = im.weighted_mean(values, log_weights)
    torch.testing.assert_close(mean, values[0])
    torch.testing.assert_close(error, (values[0] - values[1:].mean(0)).abs() * math.sqrt(0.999))
    torch.testing.assert_close(im.weighted_covariance(values, log_weights).diagonal().sqrt(), error)


def test_the_covariance_is_infinite_where_one_group_has_all_the_weight():
    log_weights = torch.tensor([0.0, 0.0, -torch.inf])
    for groups in (torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0])):
        assert torch.isinf(im.weighted_covariance(torch.eye(3), log_weights, groups)).all()


def test_groups_of_unequal_weight_are_fewer_than_they_seem():
    log_weights = torch.tensor([0.0, 0.0, 0.0, 3.0]).log1p()  # weights 1, 1, 1, 4
    assert im.effective_groups(log_weights) == pytest.approx(49 / 19)
    assert im.effective_groups(log_weights, torch.tensor([0, 0, 0, 1])) == pytest.approx(49 / 25)


def test_a_bootstrap_of_few_groups_is_as_wide_as_it_should_be():
    """Means of four groups, of variance 1/4: 200 of them, 200 replicates each."""
    groups, variances = torch.arange(4).repeat_interleave(5), []
    for seed in range(200):
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(4, generator=random, dtype=torch.float64).repeat_interleave(5)
        _, error = im.bootstrap_mean(x, torch.zeros(20), 200, random, groups)
        variances.append(error.item() ** 2)
    # That of a variance from four is 2/3 of its square: known to 6 %; without the factor it is 25 % too small.
    assert sum(variances) / 200 == pytest.approx(0.25, rel=0.2)


def test_a_bootstrap_of_one_group_knows_no_error():
    random, values = torch.Generator().manual_seed(0), torch.arange(5.0)
    for log_weights, groups in (
        (torch.zeros(5), torch.zeros(5)),
        (torch.tensor([0.0, 0.0, -torch.inf, -torch.inf, -torch.inf]), torch.tensor([0, 0, 1, 2, 3])),
    ):
        found = im.bootstrap_error(lambda w: (w * values).sum() / w.sum(), log_weights, 20, random, groups)
        assert found == math.inf
