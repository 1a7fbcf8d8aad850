"""Populations and free energies between states; how far they can be trusted."""

import numpy as np
import pytest
from scipy import stats

from boltzflow.analysis import population, population_of, state_populations
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust
from tests.analysis.weighted import equal, weighted

KAPPA, N = 2.0, 40_000


def weighted_von_mises(seed):
    angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, N)
    return angle, KAPPA * np.cos(angle)


@pytest.mark.parametrize("seed", range(5))
def test_population_agrees_with_the_truth_within_its_error(seed):
    found = population(*_region(seed))
    truth = stats.vonmises(KAPPA).cdf(2.2) - stats.vonmises(KAPPA).cdf(0.0)
    assert abs(found.value - truth) / found.error < 3.5
    free_energy = -thermal_energy(300.0) * np.log(truth / (1 - truth))
    assert abs(found.free_energy - free_energy) / found.free_energy_error < 3.5
    assert found.effective_frames < found.frames


def _region(seed):
    angle, log_weights = weighted_von_mises(seed)
    return weighted(log_weights), angle, 0.0, 2.2


def test_population_of_the_whole_of_nothing_and_through_the_seam():
    angle = np.array([-3.0, 3.0, 0.5])
    empty = population(equal(3), angle, -1.0, -0.5)
    assert (empty.value, empty.frames, empty.free_energy) == (0.0, 0, None)
    assert empty.error == pytest.approx(1 / 3)
    assert population(equal(3), angle, 2.5, -2.5).frames == 2
    assert population(equal(3), angle, -np.pi, np.pi).value == 1.0


def test_the_whole_is_the_whole_in_spite_of_rounding():
    """Weights of thousands of samples do not add up to 1 in every digit."""
    log_weights = np.random.default_rng(0).normal(size=10_001)
    found = population_of(weighted(log_weights), np.full(10_001, True))
    assert (found.value, found.free_energy) == (1.0, None)
    assert found.verdict.trust is Trust.DO_NOT_USE
    assert "no frame lies outside" in found.verdict.reason


def test_a_rest_too_light_to_count_leaves_no_free_energy():
    found = population_of(weighted([0.0, 0.0, -60.0]), np.array([True, True, False]))
    assert (found.value, found.free_energy, found.verdict.trust) == (1.0, None, Trust.DO_NOT_USE)


def test_frames_of_no_weight_are_not_there():
    weights = np.array([0.0, 0.0, -np.inf])
    found = population_of(weighted(weights), np.array([False, False, True]))
    assert (found.value, found.frames, found.effective_frames) == (0.0, 0, 0.0)
    assert found.error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("inside", "trust"),
    [
        (30, Trust.TRUST),
        (970, Trust.TRUST),
        (10, Trust.WITH_CARE),
        (990, Trust.WITH_CARE),
        (3, Trust.DO_NOT_USE),
        (0, Trust.DO_NOT_USE),
    ],
)
def test_trust_follows_the_effective_frames_of_the_smaller_side(inside, trust):
    assert population_of(equal(1000), np.arange(1000) < inside).verdict.trust is trust


def test_one_heavy_frame_is_one_effective_frame():
    log_weights = np.zeros(1000)
    log_weights[0] = 10.0
    found = population_of(weighted(log_weights), np.arange(1000) < 100)
    assert found.frames == 100
    assert found.effective_frames == pytest.approx(1.0, abs=0.02)
    assert found.verdict.trust is Trust.DO_NOT_USE


def test_errors_between_states_are_known_exactly_for_equal_weights():
    """Multinomial counts: var log(p_b / p_a) = 1/n_a + 1/n_b, whatever else there is."""
    x = np.arange(1000)
    found = state_populations(equal(1000), {"a": x < 200, "b": (x >= 200) & (x < 250)})
    kt = thermal_energy(300.0)
    assert found.differences[0, 1] == pytest.approx(kt * np.log(4.0))
    assert found.differences[1, 0] == -found.differences[0, 1]
    assert found.errors[0, 1] == pytest.approx(kt * np.sqrt((1 / 200 + 1 / 50) * 1000 / 999))
    assert found.unassigned == pytest.approx(0.75)
    assert found.overlap == 0.0
    assert found.verdict.trust is Trust.TRUST


def test_states_may_overlap_and_be_empty():
    x = np.arange(100)
    states = {"low": x < 60, "high": x >= 40, "none": x > 100, "same": x < 60}
    found = state_populations(equal(100), states)
    assert found.overlap == pytest.approx(0.6)
    assert found.unassigned == pytest.approx(0.0)
    assert found.errors[0, 3] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(found.differences[2]).all()
    assert np.isnan(found.errors[:, 2]).all()
    assert found.verdict.trust is Trust.DO_NOT_USE
    assert found.verdict.reason.startswith("none: no frame lies inside")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: population_of(equal(2), np.zeros(2)), ShapeError, "one boolean .* got float64"),
        (lambda: population_of(equal(2), np.zeros(3, bool)), ShapeError, "one boolean"),
        (lambda: population_of(weighted(np.full(2, -np.inf)), np.ones(2, bool)), NonFiniteError, "positive weight"),
        (lambda: state_populations(equal(2), {}), OptionError, "at least one state"),
        (lambda: population(equal(2), [np.nan, 0.5], 0.0, 2.2), NonFiniteError, "1 are not"),
        (lambda: population(equal(2), np.zeros(3), 0.0, 2.2), ShapeError, "one value for each"),
    ],
)
def test_impossible_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_frames_of_one_group_are_one_effective_frame():
    inside, groups = np.arange(1000) % 2 == 0, np.arange(1000) // 100
    found = population_of(equal(1000, groups), inside)
    assert (found.effective_frames, found.effective_rest) == (pytest.approx(10.0), pytest.approx(10.0))
    assert "only 10 independent groups" in found.verdict.reason
    assert state_populations(equal(1000, groups // 5), {"a": inside}).verdict.trust is Trust.DO_NOT_USE


def test_one_group_alone_knows_no_difference_between_states():
    x = np.arange(90)
    found = state_populations(equal(90, np.zeros(90, int)), {"a": x < 60, "b": x >= 60})
    assert found.errors[0, 1] == np.inf


def test_lists_are_taken():
    found = population_of(equal(3, [0, 0, 1]), [True, True, False])
    assert found.value == pytest.approx(2 / 3)
    states = state_populations(equal(3, [0, 0, 1]), {"a": [True, True, False]})
    assert states.populations["a"] == found
