"""Frames weighted for another Hamiltonian or temperature, and generators as frames see them."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import BoltzmannState, as_reference, check_forward, diagnose, log_weights_of, reweight
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust, Verdict
from tests.analysis.exact import Spring, chain, chain_moments, equilibrium
from tests.analysis.weighted import one_atom, weighted
from tests.scores import check_z_scores

SOFT, STIFF, BIAS = Spring(500.0), Spring(700.0, center=0.02), Spring(150.0)


@pytest.fixture(scope="module")
def generator() -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(chain(), layers=1, hidden=(8,), bins=4, start="bonded")


@pytest.mark.parametrize("told", ["state", "energies", "bias", "biased state"])
def test_reweighted_averages_are_exact_within_errors(told: str) -> None:
    """⟨x²⟩ of the stiff spring at 320 K from 800 frames of another at 300 K, however that is told; 24 repeats."""
    target = BoltzmannState(STIFF, 320.0, "stiff")
    exact = thermal_energy(320.0) / STIFF.stiffness + STIFF.center**2
    scores = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        if told in ("state", "energies"):
            frames = SOFT.frames(800, 300.0, rng)
            energies = 0.5 * SOFT.stiffness * np.square(frames).sum((1, 2))
            options = {"sampled": BoltzmannState(SOFT, 300.0, "soft")}
            if told == "energies":
                options = {"energies": energies - 17.0, "temperature": 300.0}  # a constant does not matter
        elif told == "bias":  # −½·200 x² about the stiff one's centre makes it softer
            frames = Spring(500.0, center=STIFF.center).frames(800, 320.0, rng)
            away = frames - [STIFF.center, 0.0, 0.0]
            options = {"bias": -0.5 * 200.0 * np.square(away).sum((1, 2))}
        else:
            frames = Spring(650.0).frames(800, 320.0, rng)
            options = {"sampled": BoltzmannState(SOFT, 320.0, "held", bias=BIAS)}
        found = reweight(mdtraj.Trajectory(frames, one_atom()), target, **options)
        assert found.temperature == 320.0
        assert found.to_mdtraj().n_frames == 800
        estimate = found.mean(np.square(frames[:, 0, 0]))
        scores.append((estimate.value - exact) / estimate.error)
        assert diagnose(found).verdict.trust is not Trust.DO_NOT_USE
    check_z_scores(scores)


def test_ensembles_go_to_other_temperatures_and_hamiltonians(generator: bf.BoltzmannGenerator) -> None:
    """From a generator's samples, on the absolute scale; frame by frame the same as weights made anew."""
    drawn = generator.sample(4000, seed=1)
    hot = drawn.at(340.0)
    np.testing.assert_allclose(hot.log_weights, -drawn.energies / thermal_energy(340.0) - drawn.log_q, atol=1e-4)
    assert abs(hot.log_z.value - chain_moments(340.0)[0]) < 4 * hot.log_z.error
    other = chain(barrier=8.0, tilt=1.5).potential("torch", compile=False)
    changed = drawn.with_potential(other, 320.0)
    assert changed.temperature == 320.0
    exact = chain_moments(320.0, barrier=8.0, tilt=1.5)
    assert abs(changed.log_z.value - exact[0]) < 4 * changed.log_z.error
    mean = changed.mean(changed.energies)
    assert abs(mean.value - exact[1]) < 4 * mean.error
    again = changed.with_potential(generator.potential, 300.0)
    np.testing.assert_allclose(again.log_weights, drawn.log_weights, atol=1e-3)


def test_infinite_energies_have_weight_zero_and_stay() -> None:
    ensemble = bf.Ensemble(np.zeros((3, 1, 3)), [0.0, np.inf, 1.0], 300.0, log_q=[-1.0, -2.0, np.nan])
    hot = ensemble.at(600.0)
    assert len(hot) == 3
    assert np.isneginf(hot.log_weights).tolist() == [False, True, False]
    # The new Hamiltonian is finite everywhere: what has a log q gets its weight.
    found = ensemble.with_potential(Spring(500.0))
    np.testing.assert_allclose(found.log_weights, [0.0, 2.0, 1.0 / thermal_energy(300.0)])
    without = bf.Ensemble(np.zeros((3, 1, 3)), [0.0, np.inf, 1.0], 300.0).with_potential(Spring(500.0))
    assert np.isneginf(without.log_weights).tolist() == [False, True, False]


def weights_verdict(log_weights: np.ndarray) -> Verdict:
    return diagnose(weighted(log_weights)).verdict


def test_verdicts_of_weights() -> None:
    rng = np.random.default_rng(0)
    assert weights_verdict(rng.normal(size=5000)).trust is Trust.TRUST
    assert weights_verdict(0.1 * rng.normal(size=60)).trust is Trust.WITH_CARE  # few
    heavy = weights_verdict(2.5 * rng.normal(size=5000))
    assert heavy.trust is not Trust.TRUST
    assert weights_verdict(5.0 * rng.normal(size=5000)).trust is Trust.DO_NOT_USE
    assert "heavy tail (Pareto k̂" in weights_verdict(rng.pareto(1.2, 5000) * 3.0).reason
    assert weights_verdict(np.full(10, -np.inf)).trust is Trust.DO_NOT_USE


def test_frames_see_what_the_samples_see(generator: bf.BoltzmannGenerator) -> None:
    """−⟨log q⟩ = ⟨U⟩/kT + log Z + KL(p ‖ q), and the effective sample size of the samples."""
    frames, drawn = equilibrium(generator, 5000, seed=3), generator.sample(5000, seed=1)
    independent = as_reference(frames, 300.0, pieces=np.arange(len(frames)))
    found = check_forward(generator, drawn, independent)
    assert found.ess == pytest.approx(drawn.ess, abs=0.02)
    # Cross entropy: that of p by quadrature, and KL(p ‖ q) beyond it, here below 0.02.
    log_z, mean, _ = chain_moments(300.0)
    excess = found.nll.value - (mean / thermal_energy(300.0) + log_z)
    assert -4 * found.nll.error < excess < 0.02 + 4 * found.nll.error
    assert found.kl.value == pytest.approx(excess, abs=4 * math.hypot(found.nll.error, found.kl.error))


def test_a_frame_outside_the_domain_shows(generator: bf.BoltzmannGenerator) -> None:
    frames = equilibrium(generator, 200, seed=3).positions.copy()
    frames[0, 3] += 1.0
    found = log_weights_of(generator, frames)
    assert found[0] == math.inf
    assert np.isfinite(found[1:]).all()


def test_an_ensemble_of_frames_has_a_temperature_and_groups() -> None:
    """⟨U⟩ of the soft spring at 330 K from an ensemble at 300 K, whose temperature need not be given again."""
    rng, target = np.random.default_rng(0), BoltzmannState(SOFT, 330.0, "hot")
    frames = SOFT.frames(4000, 300.0, rng)
    energies = 0.5 * SOFT.stiffness * np.square(frames).sum((1, 2))
    ensemble = bf.Ensemble(frames, energies, 300.0, groups=np.arange(4000) // 2)
    for options in ({"energies": energies}, {"bias": np.zeros(4000)}, {"sampled": BoltzmannState(SOFT, 300.0, "soft")}):
        found = reweight(ensemble, target, **options)
        mean = found.mean(found.energies)
        assert abs(mean.value - 1.5 * thermal_energy(330.0)) < 4 * mean.error < 0.1 * mean.value
        np.testing.assert_array_equal(found.groups, ensemble.groups)
    with pytest.raises(OptionError, match="'the simulation' at 330 K; got an ensemble at 300 K"):
        reweight(ensemble, target, energies=energies, temperature=330.0)
    with pytest.raises(OptionError, match="'held' at 310 K; got an ensemble at 300 K"):
        reweight(ensemble, target, sampled=BoltzmannState(SOFT, 310.0, "held"))
    with pytest.raises(OptionError, match="Expected equally weighted frames of a simulation; got weighted frames"):
        reweight(ensemble.at(310.0), target, energies=energies)


def test_what_cannot_be_is_refused() -> None:
    target, frames = BoltzmannState(STIFF, 300.0, "stiff"), np.zeros((2, 1, 3))
    with pytest.raises(OptionError, match="one of sampled, energies and bias"):
        reweight(frames, target)
    with pytest.raises(OptionError, match="one of sampled, energies and bias"):
        reweight(frames, target, energies=[0.0, 0.0], bias=[0.0, 0.0])
    with pytest.raises(OptionError, match="a state has its own"):
        reweight(frames, target, sampled=BoltzmannState(SOFT, 300.0, "soft"), temperature=300.0)
    with pytest.raises(OptionError, match="a target without bias"):
        reweight(frames, BoltzmannState(STIFF, 300.0, "held", bias=BIAS), bias=[0.0, 0.0])
    with pytest.raises(ShapeError, match=r"energies \(2,\), one for each frame; got shape \(3,\)"):
        reweight(frames, target, energies=[0.0, 0.0, 0.0])
    for infinite in (np.inf, -np.inf):
        with pytest.raises(NonFiniteError, match="1 have infinite energies"):
            reweight(frames, target, energies=[0.0, infinite])
    with pytest.raises(NonFiniteError, match="NaN"):
        reweight(frames, target, energies=[0.0, np.nan])
    frames[1] = np.nan
    with pytest.raises(NonFiniteError, match=r"NaN or infinity in 1 frames, the first of them 1"):
        reweight(frames, target, energies=[0.0, 0.0])
