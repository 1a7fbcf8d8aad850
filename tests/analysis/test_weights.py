"""Diagnoses of weights whose distribution is known, good ones and bad ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binom

from boltzflow.analysis import Trust, absolute_free_energy, diagnose, plots, smooth
from boltzflow.ensemble import Ensemble
from boltzflow.errors import InsufficientDataError, OptionError
from boltzflow.trust import SampleWeights, ess_by_size
from boltzflow.units import thermal_energy
from tests.scores import check_z_scores


def ensemble(log_weights: NDArray[np.float64], **options) -> Ensemble:
    n = len(log_weights)
    return Ensemble(np.zeros((n, 1, 3)), np.zeros(n), 300.0, log_weights, **options)


def log_normal(n: int, spread: float, seed: int = 0) -> NDArray[np.float64]:
    """Of mean weight 1."""
    return spread * np.random.default_rng(seed).normal(size=n) - spread**2 / 2


def pareto(n: int, k: float, seed: int = 0) -> NDArray[np.float64]:
    return -k * np.log(np.random.default_rng(seed).uniform(size=n))


# -- diagnosis ---------------------------------------------------------------------------------------


def test_good_weights_are_trusted() -> None:
    """Log-normal of spread 0.8: effective sample size e^−0.64, perplexity e^−0.32."""
    found = diagnose(ensemble(log_normal(20_000, 0.8)))
    assert found.verdict.trust is Trust.TRUST
    assert str(found.verdict).startswith("Trust: 10,")
    assert found.ess == pytest.approx(math.exp(-0.64), rel=0.05)
    assert found.perplexity == pytest.approx(math.exp(-0.32), rel=0.03)
    assert found.ess < found.ess_clipped < 1
    assert found.largest_weight < 0.01
    assert abs(found.log_z.value) < 4 * found.log_z.error
    assert found.forward_ess is None
    sizes, values = zip(*found.ess_by_size, strict=True)
    assert sizes == (20_000, 10_000, 5000, 2500, 1250, 625, 312, 156, 78, 39)
    assert values[0] == found.ess
    assert values[-1] > values[0]


@pytest.mark.parametrize("seed", range(5))
def test_good_weights_are_hardly_ever_refused(seed: int) -> None:
    for n in (1000, 10_000):
        assert diagnose(ensemble(log_normal(n, 0.8, seed))).verdict.trust < Trust.DO_NOT_USE


@pytest.mark.parametrize(("n", "refused"), [(1000, 17), (10_000, 20)])
def test_a_tail_without_a_mean_is_refused(n: int, refused: int) -> None:
    """Of 20 ensembles: a thousand samples do not always show it, but are never trusted."""
    found = [diagnose(ensemble(pareto(n, 1.0, seed))).verdict.trust for seed in range(20)]
    assert found.count(Trust.DO_NOT_USE) >= refused
    assert Trust.TRUST not in found


def test_each_fault_is_named() -> None:
    heavy = diagnose(ensemble(pareto(10_000, 1.0)))
    assert f"the weights have a heavy tail (Pareto k̂ {heavy.pareto_k:.2f})" in heavy.verdict.reason
    one = log_normal(10_000, 0.3)
    one[17] = math.log(5000.0)  # half as much as all the others together
    found = diagnose(ensemble(one))
    assert found.verdict.trust is Trust.DO_NOT_USE
    assert "one sample has 33% of the weight" in found.verdict.reason
    assert "the effective sample size falls as n grows, from" in found.verdict.reason
    few = diagnose(ensemble(log_normal(30, 0.1)))
    assert str(few.verdict) == "Do not use: there are only 30 effective samples of 30."
    some = diagnose(ensemble(log_normal(150, 0.1)))
    assert some.verdict.trust is Trust.WITH_CARE
    infinite_variance = diagnose(ensemble(pareto(100_000, 0.6)))
    assert infinite_variance.verdict.trust is not Trust.TRUST


def test_ensembles_without_a_positive_weight_are_refused() -> None:
    n = 100
    failed = Ensemble(np.zeros((n, 1, 3)), np.full(n, np.inf), 300.0)
    found = diagnose(failed)
    assert str(found.verdict) == "Do not use: none of 100 samples has a positive weight."
    assert (found.ess, found.perplexity, found.largest_weight, found.failed) == (0.0, 0.0, 0.0, n)
    assert found.log_z == (-math.inf, math.inf)
    assert math.isnan(found.pareto_k)
    outside = diagnose(ensemble(np.full(n, -np.inf)))
    assert outside.verdict.reason == "none of 100 samples has a positive weight"


def test_equal_weights_say_nothing_of_where_they_come_from() -> None:
    found = diagnose(ensemble(np.zeros(1000)))
    assert str(found.verdict) == "Trust: 1,000 samples of equal weight, which cannot show how complete the sampling is."
    assert found.ess_by_size[0] == (1000, 1.0)


def test_few_independent_groups_are_seen() -> None:
    trust = [
        diagnose(ensemble(log_normal(1000, 0.1), groups=np.arange(1000) % groups)).verdict.trust
        for groups in (40, 64, 300)
    ]
    assert trust == [Trust.DO_NOT_USE, Trust.WITH_CARE, Trust.TRUST]
    annealed = ensemble(log_normal(1000, 0.1), groups=np.arange(1000) // 2)
    assert "samples of 1,000 in 49" in diagnose(annealed).verdict.reason  # of 500 pairs


@pytest.mark.parametrize("groups", [None, np.arange(5000) // 2])
def test_equal_weights_do_not_hide_those_that_they_were_drawn_by(groups: NDArray[np.int64] | None) -> None:
    """Whether copies are many or there are none: of a tail that is refused, and of too few effective samples."""
    heavy = ensemble(pareto(5000, 1.2, seed=3), groups=groups)
    assert diagnose(heavy).verdict.trust is Trust.DO_NOT_USE
    for drawn in (heavy.resample(20_000), heavy.resample(100), heavy.accept()):
        verdict = diagnose(drawn).verdict
        assert verdict.trust > Trust.TRUST
    few = ensemble(log_normal(40, 0.1))
    assert diagnose(few).verdict.trust is Trust.DO_NOT_USE
    assert diagnose(few.resample(5000)).verdict.trust is Trust.DO_NOT_USE


def test_resampled_frames_without_copies_are_taken_with_care() -> None:
    drawn = ensemble(log_normal(20_000, 0.5)).resample(300)
    assert len(set(drawn.groups)) == 300
    assert "the samples were resampled, which hides their weights: judge the weighted ensemble" in str(
        diagnose(drawn).verdict
    )


def test_a_weight_that_no_part_of_equal_size_holds_is_refused() -> None:
    """Eight parts of 32 leave out the last 7 of 263."""
    log_weights = np.full(263, -np.inf)
    log_weights[260] = 0.0
    assert SampleWeights(log_weights).verdict.trust is Trust.DO_NOT_USE


def test_effective_sample_size_of_parts_is_the_mean_over_them() -> None:
    log_weights = np.log(np.tile([1.0, 0.0001, 0.0001, 0.0001], 32))
    assert [size for size, _ in ess_by_size(log_weights)] == [128, 64, 32]
    np.testing.assert_allclose([value for _, value in ess_by_size(log_weights)], 0.25, rtol=1e-3)
    assert [size for size, _ in ess_by_size(np.zeros(5))] == [5]


@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_points_of_the_effective_sample_size_keep_off_the_frame(
    spread: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lies further from the frame than its marker's radius of 2 points, and a line."""
    made = []

    def keep(self: Figure, path: Path, **_: object) -> None:
        made.append(self)
        Path(path).touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    plots.weights(ensemble(log_normal(2000, spread)), "", tmp_path / "weights.png")
    made[0].draw_without_rendering()
    panel = next(axes for axes in made[0].axes if axes.get_xlabel() == "samples n")
    (points,) = (line for line in panel.lines if line.get_marker() == "o")
    places, frame = panel.transData.transform(points.get_xydata()), panel.get_window_extent()
    off = np.minimum(places - frame.min, frame.max - places).min()
    assert off * 72 / made[0].dpi > 4.0


# -- frames of the equilibrium ---------------------------------------------------------------------


def equilibrium(n: int, missed: float = 0.0, seed: int = 0) -> Ensemble:
    """p = N(0, 1), q = N(0, 1.3²) without its right tail, which holds `missed` of p."""
    x = np.random.default_rng(seed).normal(size=n)
    log_q = -0.5 * (x / 1.3) ** 2 - math.log(1.3) - 0.5 * math.log(2 * math.pi)
    log_q[: int(missed * n)] = -np.inf
    return Ensemble(np.zeros((n, 1, 3)), 0.5 * x**2 * thermal_energy(300.0), 300.0, log_q=log_q)


def samples(n: int) -> Ensemble:
    t = 1.3 * np.random.default_rng(1).normal(size=n)
    log_q = -0.5 * (t / 1.3) ** 2 - math.log(1.3) - 0.5 * math.log(2 * math.pi)
    return Ensemble(np.zeros((n, 1, 3)), 0.5 * t**2 * thermal_energy(300.0), 300.0, -0.5 * t**2 - log_q, log_q)


def test_frames_of_the_equilibrium_see_what_samples_miss() -> None:
    drawn = samples(20_000)
    sound = diagnose(drawn, equilibrium(20_000))
    assert sound.forward_ess == pytest.approx(sound.ess, rel=0.02)
    assert sound.verdict.trust is Trust.TRUST
    assert "; no sign of a lost basin: none of 20,000 equilibrium frames" in sound.verdict.reason
    assert "(a basin with a population below 0.01% may have been missed)" in sound.verdict.reason
    lost = diagnose(drawn, equilibrium(20_000, missed=0.02))
    assert lost.ess == sound.ess
    assert lost.forward_ess == 0.0
    assert str(lost.verdict).startswith("Do not use: a basin is lost: 2.00% ± 0.10% of 20,000 equilibrium frames")
    thin = diagnose(drawn, equilibrium(20_000, missed=0.005))
    assert str(thin.verdict).startswith(
        "With care: a region is undersampled: 0.50% ± 0.05% of 20,000 equilibrium frames"
    )


def test_frames_of_one_chain_are_one_witness() -> None:
    """2 % of the frames are missed, all of them in one group of ten: that may be chance."""
    drawn, frames = samples(20_000), equilibrium(20_000, missed=0.02)
    grouped = Ensemble(frames.positions, frames.energies, 300.0, log_q=frames.log_q, groups=np.arange(20_000) // 2000)
    assert diagnose(drawn, frames).verdict.trust is Trust.DO_NOT_USE
    found = diagnose(drawn, grouped).verdict
    assert found.trust is Trust.WITH_CARE
    assert "2.00% ± 2.00% of 20,000 equilibrium frames" in found.reason


def test_frames_of_the_equilibrium_do_not_raise_the_dead() -> None:
    dead = Ensemble(np.zeros((100, 1, 3)), np.full(100, np.inf), 300.0)
    found = diagnose(dead, equilibrium(100))
    assert str(found.verdict) == "Do not use: none of 100 samples has a positive weight."
    assert found.forward_ess == 0.0


def test_frames_that_do_not_fit_are_refused() -> None:
    drawn, frames = samples(100), equilibrium(100)
    with pytest.raises(OptionError, match="without log q"):
        diagnose(drawn, ensemble(np.zeros(100)))
    with pytest.raises(OptionError, match="are weighted"):
        diagnose(drawn, drawn)
    other = Ensemble(frames.positions, frames.energies, 310.0, log_q=frames.log_q)
    with pytest.raises(OptionError, match="at 300 K; got 310 K"):
        diagnose(drawn, other)


# -- intervals of log Z ------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "n"), [(0.5, 500), (1.0, 4000)])
def test_intervals_of_log_z_cover_the_truth(spread: float, n: int) -> None:
    """Intervals of 1.96 errors about log Z cover the truth in 95 % of 2000 ensembles, up to the noise of counting."""
    covered, z = 0, []
    for seed in range(2000):
        log_z = ensemble(log_normal(n, spread, seed)).log_z
        z.append(log_z.value / log_z.error)
        covered += abs(z[-1]) < 1.96
    low, high = binom.ppf([5e-4, 1 - 5e-4], 2000, 0.95)
    assert low <= covered <= high
    check_z_scores(z)


@pytest.mark.parametrize("spread", [4.0, 10.0])
def test_a_free_energy_that_few_samples_carry_is_refused(spread: float) -> None:
    """Of 1000 log-normal weights, log Z = 0: it comes out too low by more than errors say, whatever these are."""
    for seed in range(20):
        found = absolute_free_energy(ensemble(log_normal(1000, spread, seed), absolute=True))
        assert found.verdict.trust is Trust.DO_NOT_USE
    dominated = np.zeros(1000)
    dominated[17] = math.log(999.0) + 5.0
    log_z = ensemble(dominated).log_z
    assert log_z.error == pytest.approx(math.log(1 + math.exp(5.0)), rel=0.01)  # the rest alone have log Z = 0


# -- smoothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_weights", [pareto(3000, 0.6), log_normal(1000, 1.5), log_normal(200, 1.0)])
def test_smoothing_touches_the_tail_alone_and_keeps_the_scale(log_weights: NDArray[np.float64]) -> None:
    log_weights[5] = -np.inf
    before = ensemble(log_weights + 100.0)
    after = smooth(before)
    n = len(log_weights) - 1
    order = np.argsort(before.log_weights)
    tail = int(min(n / 5, 3 * math.sqrt(n)))
    np.testing.assert_allclose(after.log_weights[order[:-tail]], before.log_weights[order[:-tail]])
    smoothed = after.log_weights[order[-tail:]]
    assert (np.diff(smoothed) >= 0).all()
    assert smoothed[-1] <= before.log_weights.max()
    assert not np.allclose(smoothed, before.log_weights[order[-tail:]])
    assert after.log_z.value == pytest.approx(before.log_z.value, abs=3 * before.log_z.error)


@pytest.mark.parametrize("log_weights", [pareto(3000, 0.6), log_normal(1000, 1.5), log_normal(200, 1.0), pareto(60, 1)])
def test_tail_and_smoothed_weights_are_those_of_arviz(log_weights: NDArray[np.float64]) -> None:
    from arviz_stats.base import array_stats

    smoothed, shape = array_stats.psislw(-log_weights)
    before = ensemble(log_weights)
    assert before.pareto_k == pytest.approx(float(shape), rel=1e-9)
    after = smooth(before).log_weights
    normalised = after - np.logaddexp.reduce(after)
    np.testing.assert_allclose(normalised, smoothed - np.logaddexp.reduce(smoothed), rtol=0, atol=1e-9)


def test_smoothed_weights_keep_the_constant_of_log_z() -> None:
    """Other log-weights may have any: their free energy is refused."""
    drawn = samples(1000)
    smoothed = smooth(drawn)
    annealed = Ensemble(drawn.positions, drawn.energies, 300.0, drawn.log_weights, absolute=True)
    assert absolute_free_energy(smooth(annealed)).log_z == absolute_free_energy(smoothed).log_z
    assert absolute_free_energy(smoothed).value == pytest.approx(absolute_free_energy(drawn).value, abs=0.3)
    with pytest.raises(OptionError, match="Expected absolute weights"):
        absolute_free_energy(smoothed.with_log_weights(smoothed.log_weights + 1.0))


def test_smoothing_lowers_the_scatter_of_log_z() -> None:
    """Pareto weights of shape 0.6 have mean 1/0.4 and no variance: root mean square errors of 400 runs of 1000."""
    errors = np.array(
        [
            [run.log_z.value + math.log(0.4), smooth(run).log_z.value + math.log(0.4)]
            for run in (ensemble(pareto(1000, 0.6, seed)) for seed in range(400))
        ]
    )
    raw, smoothed = np.sqrt(np.mean(errors**2, 0))
    assert smoothed < 0.9 * raw
    assert abs(errors[:, 1].mean()) < 0.05


def test_smoothing_of_too_few_and_of_equal_weights() -> None:
    with pytest.raises(InsufficientDataError, match="at least 25 positive weights for a fit of their tail; got 24"):
        smooth(ensemble(np.zeros(24)))
    equal = ensemble(np.zeros(100))
    assert smooth(equal) is equal
    clipped = log_normal(1200, 0.3)
    capped = ensemble(clipped.clip(max=np.sort(clipped)[-103]))  # the tail of 103 is one value
    assert smooth(capped) is capped
