"""Weights against analytic answers: q = N(0, 1), p̃ = Z N(m, s²), where every moment is known."""

import math

import pytest
import torch

from boltzflow.core import importance as im
from boltzflow.errors import NonFiniteError, OptionError, ShapeError

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


def test_clipping_touches_the_top_fraction_only():
    log_weights = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    result = im.clipped(log_weights, 1e-3)
    assert (result != log_weights.double()).sum() == 49  # the smallest of the top 50 stays as it is
    assert im.effective_sample_size(result) > im.effective_sample_size(log_weights)
    assert torch.equal(im.clipped(log_weights, 0.0), log_weights.double())
    with pytest.raises(OptionError, match="fraction"):
        im.clipped(log_weights, 1.0)


def test_resampling_gives_counts_next_to_their_expectation():
    log_weights = torch.tensor([0.0, 1.0, -torch.inf, 2.0, -torch.inf])
    indices = im.resample(log_weights, 1000, torch.Generator().manual_seed(0))
    counts = torch.bincount(indices, minlength=5)
    expected = 1000 * im.normalized_weights(log_weights)
    assert ((counts - expected).abs() < 1).all()
    assert counts[2] == counts[4] == 0


def test_weight_zero_hides_a_value_that_is_not_a_number():
    values = torch.tensor([1.0, torch.nan, 3.0])
    mean, error = im.weighted_mean(values, torch.tensor([0.0, -torch.inf, 0.0]))
    assert mean == 2.0
    assert torch.isfinite(error)


def test_errors_are_infinite_for_one_sample():
    assert im.log_mean_weight(torch.zeros(1)) == (0.0, math.inf)
    assert im.weighted_mean(torch.ones(2), torch.tensor([0.0, -torch.inf]))[1] == math.inf


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
    found = [im.weighted_quantile(values, log_weights, share)[0].item() for share in (0.2, 0.3, 0.74, 0.8, 0.999999)]
    assert found == [1.0, 3.0, 3.0, 5.0, 5.0]


def test_a_quantile_beyond_the_samples_has_no_error():
    value, error = im.weighted_quantile(torch.arange(10.0), torch.zeros(10), 0.99)
    assert (value, error) == (9.0, math.inf)
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
