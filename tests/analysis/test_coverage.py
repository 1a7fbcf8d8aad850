"""A small part of `benchmarks/coverage.py`: what is trusted holds, and what is good is trusted."""

import math
import pickle

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import Outcome, differences, gaussian, log_normal, pareto
from boltzflow.analysis import absolute_free_energy, diagnose, heat_capacity, mbar, population_of
from boltzflow.ensemble import Ensemble
from boltzflow.trust import SampleWeights
from boltzflow.verdict import Trust


def repeated(make, repeats: int) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for seed in range(repeats):
        for outcome in make(np.random.default_rng(seed)):
            found.setdefault(outcome[0], []).append(outcome)
    return found


NARROW = [(1, 0.6), (1, 0.75), (10, 0.8), (30, 0.87), (60, 0.9)]


@pytest.mark.parametrize(("dimensions", "width"), NARROW)
def test_too_narrow_a_proposal_is_not_trusted(dimensions: int, width: float) -> None:
    """Of 30 ensembles of 1000 samples hardly one."""
    found = repeated(lambda rng: gaussian(rng, 1000, dimensions, width), 30)
    assert sum(trusted for outcomes in found.values() for _, trusted, _, _ in outcomes) <= 0.02 * 30 * len(found)


@pytest.mark.parametrize(("dimensions", "width"), [(1, 0.9), (10, 0.95), (60, 0.975), (10, 1.05)])
def test_a_good_proposal_is_trusted_and_its_intervals_hold(dimensions: int, width: float) -> None:
    """40 ensembles of 10 000 samples, tail index at most 0.25, nine in ten samples effective."""
    found = repeated(lambda rng: gaussian(rng, 10_000, dimensions, width), 40)
    for name in found.keys() & {"mean energy", "heat capacity", "log Z", "population", "quantile"}:
        trusted = [held for _, trust, held, _ in found[name] if trust]
        assert len(trusted) >= 34, name  # of 40 at 90 %: 2.6 standard deviations
        assert stats.binom.cdf(sum(trusted), len(trusted), 0.9) > 1e-3, name


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: log_normal(rng, 5000, 0.3),
        lambda rng: pareto(rng, 5000, 0.1),
        lambda rng: differences(rng, 5000, 1, 1.25),
        lambda rng: gaussian(rng, 10_000, 10, 0.97, groups=200),
    ],
    ids=["log-normal", "Pareto", "differences", "groups"],
)
def test_intervals_hold(make) -> None:
    """25 ensembles each; all quantities together."""
    outcomes = [outcome for found in repeated(make, 25).values() for outcome in found]
    trusted = [held for _, trust, held, _ in outcomes if trust]
    assert len(trusted) > 0.4 * len(outcomes)
    assert stats.binom.cdf(sum(trusted), len(trusted), 0.9) > 1e-3


def test_one_sided_reweighting_with_a_heavy_tail_is_not_trusted() -> None:
    """500 frames of springs three times as stiff: k = 2/3."""
    found = repeated(lambda rng: list(differences(rng, 500, 1, 1 / 3))[:1], 40)["ΔF one-sided"]
    assert not any(trust for _, trust, _, _ in found)


def test_weights_that_hardly_vary_raise_no_alarm() -> None:
    """An exact base: weights differ by rounding, which has a tail of its own."""
    rng = np.random.default_rng(0)
    rounding = 1e-6 * rng.standard_t(1.5, 20_000)
    energies = rng.gamma(10.0, 2.5, 20_000)
    exact = Ensemble(np.zeros((20_000, 1, 3)), energies, 300.0, rounding, log_q=np.zeros(20_000))
    assert exact.pareto_k > 0.5
    assert diagnose(exact).verdict.trust is Trust.TRUST
    assert absolute_free_energy(exact).verdict.trust is Trust.TRUST
    assert heat_capacity(exact).verdict.trust is Trust.TRUST


def test_a_population_is_no_better_than_its_ensemble() -> None:
    rng = np.random.default_rng(0)
    heavy = Ensemble(np.zeros((4000, 1, 3)), np.zeros(4000), 300.0, rng.exponential(size=4000))
    inside = rng.uniform(size=4000) < 0.3
    assert SampleWeights(heavy.log_weights).verdict.trust is Trust.DO_NOT_USE
    assert population_of(heavy, inside).verdict.trust is Trust.DO_NOT_USE


def test_few_of_many_are_judged_alike_as_truth_values_and_as_numbers() -> None:
    """A hundredth of 20 000 frames: ties are no tail."""
    ensemble = Ensemble(np.zeros((20_000, 1, 3)), np.zeros(20_000), 300.0)
    rare = np.arange(20_000) < 200
    assert ensemble.mean(rare).verdict.trust is ensemble.mean(rare.astype(int)).verdict.trust is Trust.TRUST


def test_a_weight_that_nearly_vanishes_is_one_sample() -> None:
    log_weights = np.zeros(5000)
    log_weights[0] = -210.0
    ensemble = Ensemble(np.zeros((5000, 1, 3)), np.zeros(5000), 300.0, log_weights)
    found = ensemble.mean(np.arange(5000) == 0)
    assert found.law.contributions.carriers < 1.5
    assert found.verdict.trust > Trust.TRUST


def test_estimates_go_through_pickle_and_have_any_shape() -> None:
    ensemble = Ensemble(np.zeros((100, 1, 3)), np.arange(100.0), 300.0)
    for estimate in (ensemble.quantile(np.arange(100)), ensemble.mean(np.arange(100)), heat_capacity(ensemble)):
        assert pickle.loads(pickle.dumps(estimate)).interval() == estimate.interval()
    for estimate in (ensemble.mean(np.zeros((100, 0))), ensemble.quantile(np.zeros((100, 0)))):
        assert np.shape(estimate.interval()) == (2, 0)
        assert estimate.verdict.trust is Trust.WITH_CARE  # of so few samples
    assert ensemble.mean(np.arange(100)).scaled(0.0).interval() == (0.0, 0.0)


def test_a_difference_is_no_better_than_what_it_was_found_by() -> None:
    """Two normalised densities that differ."""
    x = np.random.default_rng(0).normal(size=20_000)
    u = np.stack([x**2 / 2, 1.05 * x**2 / 2 + 1.0])
    found = mbar(u, [10_000, 10_000], names=["a", "b"], temperatures=[300.0] * 2, normalised=[0, 1])
    assert found.between("a", "b").verdict.trust is found.verdict.trust is Trust.DO_NOT_USE


@pytest.mark.parametrize("values", [np.repeat([1.0, 2.0, 3.0], 400), np.round(np.linspace(0, 1, 1200), 1)])
def test_quantiles_of_ties_have_errors(values: np.ndarray) -> None:
    ensemble = Ensemble(np.zeros((1200, 1, 3)), np.zeros(1200), 300.0)
    for share in (0.05, 0.5, 0.99):
        assert ensemble.quantile(values, share).error > 0.0
    assert ensemble.quantile(np.ones(1200)).error == math.inf
