"""Functions of temperature by weights, against harmonic molecules and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import (
    BoltzmannState,
    GeneratorState,
    absolute_free_energy,
    free_energy_differences,
    temperature_series,
)
from boltzflow.errors import OptionError
from boltzflow.estimate import Estimate
from boltzflow.units import GAS_CONSTANT, thermal_energy
from boltzflow.verdict import Trust
from tests.analysis.exact import Spring, chain, chain_moments, equilibrium
from tests.scores import check_z_scores

STIFFNESS, KELVINS = 800.0, [280.0, 300.0, 325.0]
R = 1e3 * GAS_CONSTANT


def harmonic_molecule(seed: int, n: int, atoms: int, drawn_at: float = 310.0, log_q: bool = True) -> bf.Ensemble:
    """Atoms on springs, drawn at another temperature; positions are not needed, energies and densities are exact."""
    spring, rng = Spring(STIFFNESS, atoms=atoms), np.random.default_rng(seed)
    energies = 0.5 * STIFFNESS * np.square(spring.frames(n, drawn_at, rng)).sum((1, 2))
    density = -energies / thermal_energy(drawn_at) - spring.log_z(drawn_at)
    log_weights = -energies / thermal_energy(300.0) - density
    frames = np.zeros((n, 1, 3))
    if log_q:
        return bf.Ensemble(frames, energies, 300.0, log_weights, density)
    return bf.Ensemble(frames, energies, drawn_at)


def scores_of(found: list[Estimate], exact: np.ndarray) -> np.ndarray:
    """(repeats, temperatures)."""
    return np.array([(estimate.value - exact) / estimate.error for estimate in found])


@pytest.mark.parametrize(("atoms", "n"), [(1, 1000), (4, 2000), (20, 8000)])
def test_a_harmonic_molecule_is_exact_within_errors(atoms: int, n: int) -> None:
    """Free energy, energy, entropy and heat capacity of 3 to 60 springs at three temperatures; 30 repeats."""
    series = [temperature_series(harmonic_molecule(seed, n, atoms), KELVINS) for seed in range(30)]
    kelvins = np.array(KELVINS)
    log_z = np.array([Spring(STIFFNESS, atoms=atoms).log_z(kelvin) for kelvin in KELVINS])
    exact = {
        "free_energy": -GAS_CONSTANT * kelvins * log_z,
        "energy": 1.5 * atoms * GAS_CONSTANT * kelvins,
        "entropy": R * (1.5 * atoms + log_z),
        "heat_capacity": np.full(3, 1.5 * atoms * R),
    }
    for name, values in exact.items():
        for column in scores_of([getattr(one, name) for one in series], values).T:
            check_z_scores(column)
    assert {verdict.trust for one in series for verdict in one.verdicts[:2]} <= {Trust.TRUST, Trust.WITH_CARE}


def test_without_log_q_all_is_relative_to_the_ensemble() -> None:
    """Frames of 12 springs at 310 K: log Z(T)/Z(310 K) and S(T) − S(310 K); 30 repeats of 1000."""
    series = [temperature_series(harmonic_molecule(s, 1000, 4, log_q=False), [290.0, 310.0, 325.0]) for s in range(30)]
    ratio = np.array([290.0, 325.0]) / 310.0
    of_log_z = [Estimate(one.log_z.value[::2], one.log_z.error[::2]) for one in series]
    of_entropy = [Estimate(one.entropy.value[::2], one.entropy.error[::2]) for one in series]
    for found, exact in ((of_log_z, 6 * np.log(ratio)), (of_entropy, 6 * R * np.log(ratio))):
        for column in scores_of(found, exact).T:
            check_z_scores(column)
    assert (series[0].log_z.value[1], series[0].log_z.error[1]) == (0.0, 0.0)
    assert series[0].entropy.value[1] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(OptionError, match="absolute weights for F"):
        _ = series[0].free_energy


def in_chains(frames: bf.Ensemble, seed: int) -> bf.Ensemble:
    """Each frame one to nine times over: a chain that stays where it is, and a group."""
    chain_of = np.repeat(np.arange(len(frames)), np.random.default_rng(seed + 1000).integers(1, 10, len(frames)))
    parts = frames[chain_of]
    return bf.Ensemble(
        parts.positions, parts.energies, parts.temperature, parts.log_weights, parts.log_q, groups=3 * chain_of + 7
    )


def test_errors_are_those_of_groups() -> None:
    """Frames of 12 springs at 310 K in chains of no motion: ⟨U⟩, and log Z and S relative; 30 repeats of 500 chains."""
    kelvins, degrees = np.array([295.0, 325.0]), 6
    series = [
        temperature_series(in_chains(harmonic_molecule(s, 500, 4, log_q=False), s), kelvins.tolist()) for s in range(30)
    ]
    log_z = degrees * np.log(kelvins / 310.0)
    for name, exact in (("energy", degrees * GAS_CONSTANT * kelvins), ("log_z", log_z), ("entropy", R * log_z)):
        for column in scores_of([getattr(one, name) for one in series], exact).T:
            check_z_scores(column)


def test_the_same_number_has_the_same_error_everywhere() -> None:
    ensemble = in_chains(harmonic_molecule(0, 500, 4), 0)
    found, hot = temperature_series(ensemble, [300.0, 325.0]), ensemble.at(325.0)
    assert (found.log_z.value[1], found.log_z.error[1]) == hot.log_z
    assert (found.energy.value[1], found.energy.error[1]) == hot.mean(hot.energies)
    assert found.free_energy.error[0] == pytest.approx(absolute_free_energy(ensemble).error)
    alone = bf.Ensemble(np.zeros((9, 1, 3)), np.arange(9.0), 300.0, groups=np.ones(9, int))
    for functions in (temperature_series(alone, [310.0]), temperature_series(alone[:1], [310.0])):
        assert functions.entropy.error == functions.log_z.error == np.inf


@pytest.mark.parametrize(
    ("n", "zeros", "spread", "trust"),
    [(1000, 2, 0.01, Trust.WITH_CARE), (6000, 30, 0.01, Trust.TRUST), (20_000, 2, 0.5, Trust.TRUST)],
)
def test_an_error_that_rests_on_a_handful_of_samples_is_told(n: int, zeros: int, spread: float, trust: Trust) -> None:
    """Nearly equal weights and two that are zero: as well it could have been five, or none."""
    log_weights = spread * np.random.default_rng(0).normal(size=n)
    log_weights[:zeros] = -np.inf
    ensemble = bf.Ensemble(np.zeros((n, 1, 3)), np.zeros(n), 300.0, log_weights, np.zeros(n))
    verdict = absolute_free_energy(ensemble).verdict
    assert verdict.trust is trust
    assert ("contributions" in verdict.reason) == (trust is Trust.WITH_CARE)
    assert temperature_series(ensemble, [310.0]).verdicts[0].trust is trust


def test_far_away_in_temperature_is_refused() -> None:
    """60 springs: weights hold over about √(1/30) of T."""
    verdicts = temperature_series(harmonic_molecule(0, 8000, 20), [300.0, 320.0, 500.0]).verdicts
    assert [verdict.trust for verdict in verdicts] == [Trust.TRUST, Trust.TRUST, Trust.DO_NOT_USE]


def test_a_molecule_is_that_of_quadrature() -> None:
    """Four bonded atoms by an untrained generator; 20 repeats of 4000 samples, of which some 20 each weigh nothing."""
    generator = bf.BoltzmannGenerator.for_system(chain(), layers=1, hidden=(8,), bins=4, start="bonded")
    drawn = generator.sample(80_000, seed=1)
    series = [temperature_series(drawn[4000 * i : 4000 * (i + 1)], [285.0, 300.0, 325.0]) for i in range(20)]
    for k, kelvin in enumerate([285.0, 300.0, 325.0]):
        log_z, mean, variance = chain_moments(kelvin)
        capacity = 1e3 * variance / (GAS_CONSTANT * kelvin**2)
        for name, exact in (("log_z", log_z), ("energy", mean), ("heat_capacity", capacity)):
            found = [getattr(one, name) for one in series]
            check_z_scores([(estimate.value[k] - exact) / estimate.error[k] for estimate in found])
    found = absolute_free_energy(drawn)
    assert abs(found.value + thermal_energy(300.0) * chain_moments(300.0)[0]) < 4 * found.error
    assert found.verdict.trust is not Trust.DO_NOT_USE
    with pytest.raises(OptionError, match="Expected absolute weights"):
        absolute_free_energy(equilibrium(generator, 100, seed=1))


def test_alanine_dipeptide_at_two_temperatures() -> None:
    """F at 300 K and 320 K: from samples of the shipped generator alone, and by MBAR with others and 320 K's frames."""
    generator = bf.BoltzmannGenerator.load(bf.available_systems()["alanine_dipeptide"] / "generator.safetensors")
    drawn = generator.sample(9000, seed=4)
    series = temperature_series(drawn[:5000], [300.0, 320.0])
    hot = drawn[7000:].at(320.0)
    chance = np.log(np.random.default_rng(0).random(len(hot)))
    there = hot.positions[chance < hot.log_weights - hot.log_weights.max()]  # rejection: independent frames at 320 K
    states = [GeneratorState(generator)]
    states += [BoltzmannState(generator.potential, kelvin, f"{kelvin:g} K") for kelvin in (300.0, 320.0)]
    found = free_energy_differences(states, [drawn[5000:7000], None, there])
    assert len(there) > 100
    assert found.verdict.trust is Trust.TRUST
    assert series.verdicts[0].trust is Trust.TRUST
    assert series.verdicts[1].trust <= Trust.WITH_CARE  # the heat capacity at 320 K
    for k in (0, 1):
        one, both = series.free_energy, found.free_energies
        difference = one.value[k] - both.value[k + 1]
        assert abs(difference) < 4 * math.hypot(one.error[k], both.error[k + 1])
        assert one.error[k] < 0.05
    assert found.free_energies.value[1] == pytest.approx(178.6854 * thermal_energy(300.0), abs=0.3)
