"""Free-energy differences against exact ones: z-scores of independent repeats, layouts, and refusals."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import pymbar
import pytest
import torch

import boltzflow as bf
from boltzflow.analysis import (
    BoltzmannState,
    FreeEnergyDifferences,
    GeneratorState,
    decorrelated,
    free_energy_differences,
    mbar,
    reduced_energies,
    statistical_inefficiency,
)
from boltzflow.energies import TorchPotential
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust
from tests.analysis.exact import Spring, chain, chain_moments, equilibrium
from tests.scores import check_z_scores

KELVIN = 300.0
NAMES = {"names": ["a", "b"], "temperatures": [KELVIN, KELVIN]}


@pytest.fixture(scope="module")
def generator() -> bf.BoltzmannGenerator:
    """Untrained: the start from bonded terms is nearly the density of a molecule that has no others."""
    return bf.BoltzmannGenerator.for_system(chain(), layers=1, hidden=(8,), bins=4, start="bonded")


def springs(seed: int, counts: list[int], stiffness: float, dimensions: int, shift: float = 0.0):
    """Samples and u_kn of ½x² and ½k(x − shift)² in many dimensions at kT = 1; f differs by D/2 log k."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(counts[0], dimensions))
    second = rng.normal(size=(counts[1], dimensions)) / math.sqrt(stiffness)
    second[:, 0] += shift
    x = np.concatenate([first, second])
    away = x.copy()
    away[:, 0] -= shift
    return np.stack([np.square(x).sum(1) / 2, stiffness * np.square(away).sum(1) / 2])


@pytest.mark.parametrize("counts", [[1000, 1000], [1500, 300], [2000, 0], [0, 2000]], ids=str)
@pytest.mark.parametrize(("dimensions", "stiffness"), [(1, 1.5), (6, 1.3), (60, 1.12)])
def test_springs_are_exact_within_errors(counts: list[int], dimensions: int, stiffness: float) -> None:
    """Reweighting of either, and BAR of both, with equally and unequally many samples; 40 repeats each."""
    scores = []
    for seed in range(40):
        found = mbar(springs(seed, counts, stiffness, dimensions), counts, **NAMES)
        value, error = found.between("a", "b")
        scores.append((value - dimensions / 2 * math.log(stiffness)) / error)
        assert found.converged
        assert found.verdict.trust is not Trust.DO_NOT_USE
    check_z_scores(scores)


def test_mixtures_in_a_chain_of_states_are_exact_within_errors() -> None:
    """Mixtures of two Gaussians that move from one side to the other in five states; 30 repeats of 400 samples each."""
    centers, places = np.array([-2.0, 2.0]), np.linspace(0.0, 1.0, 5)
    scores = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        samples, rows = [], []
        for share in 0.1 + 0.8 * places:
            right = rng.random(400) < share
            samples.append(rng.normal(centers[right.astype(int)], 1.0))
        x = np.concatenate(samples)
        for k, share in enumerate(0.1 + 0.8 * places):
            density = (1 - share) * np.exp(-np.square(x - centers[0]) / 2) + share * np.exp(
                -np.square(x - centers[1]) / 2
            )
            rows.append(-np.log(density) + 1.7 * k)  # log Z = ½ log 2π − 1.7 k
        found = mbar(np.stack(rows), [400] * 5, names=[f"{share:g}" for share in places], temperatures=[KELVIN] * 5)
        value, error = found.between("0", "1")
        scores.append((value - 4 * 1.7) / error)
    check_z_scores(scores)


def test_two_states_are_bar_and_layout_is_that_of_pymbar() -> None:
    u_kn = springs(0, [700, 300], 1.4, 3)
    found = mbar(u_kn, [700, 300], **NAMES)
    work = u_kn[1] - u_kn[0]
    bar = pymbar.bar(work[:700], -work[700:])
    assert found.between("a", "b") == pytest.approx((bar["Delta_f"], bar["dDelta_f"]), rel=1e-3)
    overlap = pymbar.MBAR(u_kn, np.array([700, 300]), solver_protocol="robust").compute_overlap()["matrix"]
    np.testing.assert_allclose(found.overlap, overlap, atol=1e-6)
    np.testing.assert_allclose(found.overlap.sum(1), 1.0)
    np.testing.assert_allclose(np.exp(found.log_weights).sum(1), 1.0, rtol=1e-6)
    assert found.between("b", "a").value == -found.between("a", "b").value
    values, errors = found.kj_per_mol
    assert values[0, 1] == pytest.approx(thermal_energy(KELVIN) * found.values[0, 1])
    assert errors[0, 1] == pytest.approx(thermal_energy(KELVIN) * found.errors[0, 1])


def test_without_samples_of_its_own_a_state_is_reweighted() -> None:
    u_kn = springs(0, [2000, 0], 1.4, 3)
    found = mbar(u_kn, [2000, 0], **NAMES)
    weights = np.exp(u_kn[0] - u_kn[1])
    assert found.between("a", "b").value == pytest.approx(-math.log(weights.mean()), rel=1e-6)
    error = weights.std() / weights.mean() / math.sqrt(2000)
    assert found.between("a", "b").error == pytest.approx(error, rel=1e-3)
    assert found.effective[1] == pytest.approx(weights.sum() ** 2 / np.square(weights).sum(), rel=1e-6)


def test_no_overlap_is_refused_and_little_is_warned_of() -> None:
    def verdict(shift: float, counts: list[int]) -> Trust:
        found = mbar(springs(1, counts, 1.0, 1, shift), counts, **NAMES)
        if shift > 7.0 and min(counts):
            assert found.errors[0, 1] == math.inf
        return found.verdict.trust

    assert verdict(1.0, [1000, 1000]) is Trust.TRUST
    assert verdict(4.5, [1000, 1000]) is Trust.WITH_CARE
    assert verdict(6.0, [1000, 1000]) is Trust.DO_NOT_USE
    assert verdict(12.0, [1000, 1000]) is Trust.DO_NOT_USE
    assert verdict(0.5, [20_000, 0]) is Trust.TRUST
    assert verdict(3.0, [1000, 0]) is Trust.DO_NOT_USE
    assert verdict(0.5, [5000, 100]) is Trust.TRUST  # that one has few samples is no lack of overlap


def test_a_state_between_two_islands_is_no_bridge() -> None:
    """A and B do not overlap; C, without samples, reaches to both."""
    x = np.concatenate([np.random.default_rng(0).normal(c, 1.0, 500) for c in (-10.0, 10.0)])
    u_kn = np.stack(
        [np.square(x + 10) / 2, np.square(x - 10) / 2, np.minimum(np.square(x + 10), np.square(x - 10)) / 2]
    )
    found = mbar(u_kn, [500, 500, 0], names=["A", "B", "C"], temperatures=[KELVIN] * 3)
    assert found.errors[0, 1] == math.inf
    assert math.isfinite(min(found.errors[0, 2], found.errors[1, 2]))
    assert found.verdict.trust is Trust.DO_NOT_USE
    assert "states do not overlap (A" in found.verdict.reason


def test_infinite_energies_are_weight_zero_and_kept() -> None:
    """Half of the line is forbidden in the second state: f rises by log 2; 30 repeats."""
    scores = []
    for seed in range(30):
        x = np.random.default_rng(seed).normal(size=1000)
        y = np.abs(np.random.default_rng(seed + 1000).normal(size=500))
        z = np.concatenate([x, y])
        u_kn = np.stack([np.square(z) / 2, np.where(z > 0, np.square(z) / 2, np.inf)])
        value, error = mbar(u_kn, [1000, 500], **NAMES).between("a", "b")
        scores.append((value - math.log(2.0)) / error)
    check_z_scores(scores)


def test_densities_that_are_both_normalised_are_compared() -> None:
    x = np.random.default_rng(0).normal(size=4000)
    log_norm = 0.5 * math.log(2 * math.pi)

    def found(wrong: float) -> FreeEnergyDifferences:
        u_kn = np.stack([np.square(x) / 2 + log_norm, np.square(x - 0.3) / 2 + log_norm + wrong])
        return mbar(u_kn, [4000, 0], normalised=[0, 1], **NAMES)

    assert found(0.0).verdict.trust is Trust.TRUST
    assert found(0.1).verdict.trust is Trust.DO_NOT_USE
    assert "a and b are both normalised, but differ by" in found(0.1).verdict.reason


def test_correlated_frames_are_found_and_thinned() -> None:
    """An autoregressive series of 1 + 2τ = 19: the errors of its thinned frames are honest; 20 repeats."""
    scores, found = [], None
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = np.empty(20_000)
        x[0] = rng.normal()
        for i, kick in enumerate(rng.normal(size=len(x) - 1)):
            x[i + 1] = 0.9 * x[i] + math.sqrt(1 - 0.81) * kick
        energies = np.square(x) / 2  # of squares: 0.81 a step, 1 + 2τ = 9.5
        assert statistical_inefficiency(x) == pytest.approx(19.0, rel=0.5)
        frames = decorrelated(bf.Ensemble(np.zeros((len(x), 1, 3)), energies, KELVIN), x)
        assert 600 < len(frames) < 2200
        u_kn = np.stack([frames.energies, 1.3 * frames.energies])
        found = mbar(u_kn, [len(frames), 0], ordered=[0], **NAMES)
        assert found.verdict.trust is Trust.TRUST
        value, error = found.between("a", "b")
        scores.append((value - 0.5 * math.log(1.3)) / error)
    check_z_scores(scores)
    found = mbar(np.stack([energies, 1.3 * energies]), [len(x), 0], ordered=[0], **NAMES)
    assert found.verdict.trust is Trust.WITH_CARE
    assert "frames of a are correlated" in found.verdict.reason


def test_several_temperatures_and_hamiltonians_of_frames() -> None:
    """Three states of a particle on a spring from frames: an array, a trajectory, and an ensemble; 20 repeats."""
    soft, stiff = Spring(500.0), Spring(800.0, center=0.03)
    topology = mdtraj.Topology()
    topology.add_atom("A", mdtraj.element.carbon, topology.add_residue("A", topology.add_chain()))
    scores: list[list[float]] = [[], []]
    states = [
        BoltzmannState(soft, 300.0, "cold"),
        BoltzmannState(soft, 330.0, "hot"),
        BoltzmannState(stiff, 300.0, "stiff"),
    ]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cold, hot, other = soft.frames(400, 300.0, rng), soft.frames(300, 330.0, rng), stiff.frames(200, 300.0, rng)
        samples = [
            cold,
            mdtraj.Trajectory(hot, topology),
            bf.Ensemble(other, stiff.energy(torch.from_numpy(other)), 300.0),
        ]
        soft.evaluations = 0
        found = free_energy_differences(states, samples)
        assert soft.evaluations == 900  # one object: evaluated once, for both temperatures
        for k, state in enumerate(states[1:]):
            value, error = found.between("cold", state.name)
            scores[k].append((value - soft.log_z(300.0) + state.potential.log_z(state.temperature)) / error)
        with pytest.raises(OptionError, match="sets the absolute scale"):
            _ = found.kj_per_mol
    for found_scores in scores:
        check_z_scores(found_scores)


def test_an_umbrella_is_a_state_with_its_bias() -> None:
    """Frames of a biased simulation give the unbiased state; here the bias makes the spring stiffer; 20 repeats."""
    spring, bias = Spring(500.0), Spring(100.0)
    scores = []
    states = [BoltzmannState(spring, KELVIN, "biased", bias=bias), BoltzmannState(spring, KELVIN, "free")]
    for seed in range(20):
        frames = Spring(600.0).frames(500, KELVIN, np.random.default_rng(seed))
        value, error = free_energy_differences(states, [frames, None]).between("biased", "free")
        scores.append((value + spring.log_z(KELVIN) - Spring(600.0).log_z(KELVIN)) / error)
    check_z_scores(scores)


@pytest.mark.parametrize("frames", [False, True], ids=["flow alone", "with frames"])
def test_log_z_of_a_molecule_by_its_generator(generator: bf.BoltzmannGenerator, frames: bool) -> None:
    """From the flow's samples alone, and by BAR with equilibrium frames; 24 repeats of 600 of each."""
    exact = chain_moments(KELVIN)[0]
    states = [GeneratorState(generator), BoltzmannState(generator.potential, KELVIN, "chain")]
    drawn, there = generator.sample(24 * 600, seed=1), equilibrium(generator, 18_000, seed=2)
    scores = []
    for i in range(24):
        part = slice(600 * i, 600 * (i + 1))
        found = free_energy_differences(states, [drawn[part], there[part] if frames else None])
        value, error = found.between("generator", "chain")
        scores.append((value + exact) / error)
        free = found.free_energies
        assert free.value[1] == pytest.approx(thermal_energy(KELVIN) * value)
        assert (free.value[0], free.error[0]) == (0.0, 0.0)
        assert found.verdict.trust <= Trust.WITH_CARE
    check_z_scores(scores)


def test_frames_alone_do_not_see_what_a_generator_leaks(generator: bf.BoltzmannGenerator) -> None:
    """A thousandth of a uniform density is in each coordinate of it: no frame of the equilibrium is out there."""
    states = [GeneratorState(generator), BoltzmannState(generator.potential, KELVIN, "chain")]
    found = free_energy_differences(states, [None, equilibrium(generator, 600, seed=2)])
    assert found.verdict.trust is Trust.WITH_CARE
    assert "generator has no samples, and equilibrium frames cannot reveal" in found.verdict.reason


def test_temperatures_of_a_molecule_on_the_absolute_scale(generator: bf.BoltzmannGenerator) -> None:
    """F(360 K) − F(300 K) in kJ/mol with the covariance of both, from a generator at 300 K; 24 repeats of 800."""
    kt = [thermal_energy(kelvin) for kelvin in (300.0, 360.0)]
    exact = -kt[1] * chain_moments(360.0)[0] + kt[0] * chain_moments(300.0)[0]
    states = [
        GeneratorState(generator),
        BoltzmannState(generator.potential, 300.0, "300 K"),
        BoltzmannState(generator.potential, 360.0, "360 K"),
    ]
    drawn = generator.sample(24 * 800, seed=3)
    scores = []
    for i in range(24):
        found = free_energy_differences(states, [drawn[800 * i : 800 * (i + 1)], None, None])
        values, errors = found.kj_per_mol
        scores.append((values[1, 2] - exact) / errors[1, 2])
        assert values[1, 2] == -values[2, 1]
    check_z_scores(scores)


def test_layout_of_reduced_energies(generator: bf.BoltzmannGenerator) -> None:
    drawn, there = generator.sample(50, seed=1), equilibrium(generator, 100, seed=2)
    stiffer = TorchPotential(chain(barrier=9.0).openmm_system, compile=False)
    states = [
        BoltzmannState(generator.potential, 300.0, "chain"),
        GeneratorState(generator),
        BoltzmannState(stiffer, 350.0, "other"),
    ]
    u_kn, counts = reduced_energies(states, [there, drawn, None])
    n = len(there)
    assert counts.tolist() == [n, 50, 0]
    np.testing.assert_allclose(u_kn[0, :n], there.energies / thermal_energy(300.0), atol=1e-4)
    np.testing.assert_array_equal(u_kn[1, n:], -drawn.log_q)
    np.testing.assert_allclose(u_kn[0, n:] - u_kn[1, n:], -drawn.log_weights, atol=1e-4)
    with torch.no_grad():
        log_q = generator.log_prob(torch.from_numpy(there.positions)).double().numpy()
    np.testing.assert_allclose(u_kn[1, :n], -log_q, rtol=1e-5)
    energy = stiffer.energy(torch.from_numpy(drawn.positions)).double().numpy()
    np.testing.assert_allclose(u_kn[2, n:], energy / thermal_energy(350.0), rtol=1e-5)


def test_what_was_drawn_and_cannot_be_weighed_counts(generator: bf.BoltzmannGenerator) -> None:
    drawn = generator.sample(50, seed=1)
    broken = bf.Ensemble(drawn.positions, drawn.energies, KELVIN, drawn.log_weights, drawn.log_q.copy())
    broken.log_q[3] = np.nan
    states = [GeneratorState(generator), BoltzmannState(generator.potential, KELVIN, "chain")]
    found = free_energy_differences(states, [broken, None])
    weights = np.exp(drawn.log_weights)
    weights[3] = 0.0
    assert found.between("generator", "chain").value == pytest.approx(-math.log(weights.mean()), abs=1e-4)


def test_a_generator_takes_only_what_it_has_drawn(generator: bf.BoltzmannGenerator) -> None:
    drawn = generator.sample(200, seed=1)
    states = [GeneratorState(generator), BoltzmannState(generator.potential, KELVIN, "chain")]
    for frames in (drawn.resample(100), drawn.accept(), drawn.unweighted(np.arange(100))):
        with pytest.raises(OptionError, match="Expected samples of 'generator' with their log q; this ensemble has"):
            free_energy_differences(states, [frames, None])
    stranger = bf.BoltzmannGenerator.for_system(chain(length=0.151), layers=1, hidden=(8,), bins=4, start="bonded")
    with pytest.raises(OptionError, match="they are from another generator, or at another temperature"):
        free_energy_differences(states, [stranger.sample(100, seed=1), None])
    # Other weights leave log q as it is; the values are those of the samples themselves.
    found = free_energy_differences(states, [drawn, None]), free_energy_differences(states, [drawn.at(330.0), None])
    assert found[0].between("generator", "chain") == found[1].between("generator", "chain")


def test_frames_in_groups_are_refused(generator: bf.BoltzmannGenerator) -> None:
    """Copies and chains are worth less than MBAR takes them for."""
    spring = Spring(500.0)
    frames = spring.frames(40, KELVIN, np.random.default_rng(0))
    states = [BoltzmannState(spring, KELVIN, "a"), BoltzmannState(spring, 310.0, "b")]
    chains = bf.Ensemble(frames, np.arange(40.0), KELVIN, groups=np.arange(40) // 20)
    with pytest.raises(OptionError, match=r"independent samples of 'a'.*; got 40 frames in 2 groups"):
        free_energy_differences(states, [chains, None])
    one_each = chains[np.unique(chains.groups, return_index=True)[1]]
    assert free_energy_differences(states, [one_each, None]).counts.tolist() == [2, 0]
    with pytest.raises(OptionError, match="one trajectory; got frames of 2 groups"):
        decorrelated(chains)
    thinned = decorrelated(chains[chains.groups == 1], np.arange(20) % 2)
    assert thinned.groups is None
    free_energy_differences(states, [thinned, None])


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_a_series_that_is_not_finite_is_refused(worst: float) -> None:
    energies = np.append(np.random.default_rng(0).normal(size=20), worst)
    with pytest.raises(NonFiniteError, match="time series of finite values; 1 of 21"):
        statistical_inefficiency(energies)
    with pytest.raises(NonFiniteError, match="time series of finite values; 1 of 21"):
        decorrelated(bf.Ensemble(np.zeros((21, 1, 3)), np.zeros(21), KELVIN), energies)


def test_what_cannot_be_is_refused(generator: bf.BoltzmannGenerator) -> None:
    spring = Spring(500.0)
    frames = spring.frames(10, KELVIN, np.random.default_rng(0))
    state, other = BoltzmannState(spring, KELVIN, "a"), BoltzmannState(spring, 310.0, "b")
    with pytest.raises(OptionError, match="different names"):
        free_energy_differences([state, state], [frames, None])
    with pytest.raises(OptionError, match="different names"):
        free_energy_differences([state, other], [frames])
    with pytest.raises(OptionError, match="at least one state"):
        free_energy_differences([state, other], [None, None])
    weighted = bf.Ensemble(frames, np.zeros(10), KELVIN, log_weights=np.arange(10.0))
    with pytest.raises(OptionError, match=r"Expected equally weighted samples of .*; got weighted samples"):
        free_energy_differences([state, other], [weighted, None])
    with pytest.raises(OptionError, match=r"samples of 'b' at 310 K; got an ensemble at 300 K"):
        free_energy_differences([state, other], [None, bf.Ensemble(frames, np.zeros(10), KELVIN)])
    with pytest.raises(ShapeError, match=r"positions \(n, N, 3\)"):
        free_energy_differences([state, other], [frames[0], None])
    with pytest.raises(ShapeError, match="equal numbers of atoms"):
        free_energy_differences([state, other], [frames, np.zeros((2, 2, 3))])
    chained = BoltzmannState(generator.potential, KELVIN, "chain")
    outside = np.array(equilibrium(generator, 20, seed=1).positions)
    outside[2, 3] += 1.0
    with pytest.raises(NonFiniteError, match=r"samples of 'generator' .*; 1 of .* have none \(the first is frame 2\)"):
        free_energy_differences([GeneratorState(generator), chained], [outside, None])
    with pytest.raises(OptionError, match=r"positive temperature .* K; got -5"):
        mbar(np.zeros((1, 3)), [3], names=["a"], temperatures=[-5.0])
    with pytest.raises(ShapeError, match="Expected reduced energies"):
        mbar(np.zeros((2, 3)), [1, 1], **NAMES)
    with pytest.raises(NonFiniteError, match="finite in each sample's own state"):
        mbar(np.array([[np.inf, 0.0], [0.0, 0.0]]), [1, 1], **NAMES)
    with pytest.raises(NonFiniteError, match="there are none for b"):
        mbar(np.array([[0.0, 0.0], [np.inf, np.inf]]), [2, 0], **NAMES)
    found = mbar(springs(0, [50, 50], 1.0, 1), [50, 50], **NAMES)
    with pytest.raises(OptionError, match="one of the states a, b; got 'c'"):
        found.between("a", "c")
