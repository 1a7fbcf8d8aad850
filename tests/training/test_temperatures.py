"""One generator for a range of temperatures: its weights, its training, its files, and what refuses it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow.analysis import heat_capacity
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.testing import randomize_parameters
from boltzflow.training import (
    FAB,
    AlphaDivergence,
    ConstrainedTransport,
    ForwardKL,
    LogDispersion,
    Method,
    Mixture,
    Phases,
    ReverseKL,
    TemperatureAnnealing,
)
from boltzflow.training.methods import StepInfo
from boltzflow.units import thermal_energy
from tests.analysis.exact import chain

RANGE = (300.0, 900.0)
OPTIONS = {"batch_size": 128, "log_every": 1, "compile": False, "progress": False, "warmup": 5, "learning_rate": 1e-2}
OPTIONS |= {"optimizer": "adam", "precision": "float32"}


def make(**options: object) -> bf.BoltzmannGenerator:
    """A generator of the chain that starts with a uniform torsion."""
    chosen = {"layers": 2, "hidden": (32,), "bins": 6, "start": "plain", "temperatures": RANGE} | options
    return bf.BoltzmannGenerator.for_system(chain(), **chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> bf.BoltzmannGenerator:
    generator = make()
    bf.train(generator, "reverse_kl", steps=160, **OPTIONS)  # type: ignore[arg-type]
    return generator


@dataclass(frozen=True)
class Exact:
    """log Z, ⟨U⟩ in kJ/mol and d⟨U⟩/dT in J/(mol K) of the chain: its coordinates are independent of one another."""

    log_z: float
    energy: float
    heat_capacity: float

    @classmethod
    def at(cls, kelvin: float) -> Exact:
        kt = thermal_energy(kelvin)
        b, theta, phi = (
            np.linspace(0.03, 0.3, 40_001),
            np.linspace(0.0, np.pi, 20_001),
            np.linspace(-np.pi, np.pi, 20_001),
        )
        torsion = 6.0 * (1 + np.cos(2 * phi - np.pi)) + 2.5 * (1 + np.cos(phi - np.pi))
        terms = [
            (3, b, 50_000.0 * (b - 0.15) ** 2, b**2),
            (2, theta, 150.0 * (theta - 2.0) ** 2, np.sin(theta)),
            (1, phi, torsion, np.ones_like(phi)),
        ]
        log_z = energy = variance = 0.0
        for count, x, u, volume in terms:
            weight = volume * np.exp(-u / kt)
            z = np.trapezoid(weight, x)
            mean = np.trapezoid(weight * u, x) / z
            log_z += count * math.log(z)
            energy += count * mean
            variance += count * np.trapezoid(weight * (u - mean) ** 2, x) / z
        return cls(log_z, energy, 1e3 * variance / (kt * kelvin))


@pytest.mark.parametrize("kelvin", [300.0, 520.0, 900.0])
def test_weights_are_exact_at_each_temperature(trained: bf.BoltzmannGenerator, kelvin: float) -> None:
    """z-scores of 20 000 samples against quadrature; ESS above 60 %, from 24 % (300 K) and 2 % (900 K) untrained."""
    ensemble, exact = trained.sample(20_000, temperature=kelvin, seed=2), Exact.at(kelvin)
    assert ensemble.temperature == kelvin
    assert ensemble.ess > 0.6
    energy, capacity = ensemble.mean(ensemble.energies), heat_capacity(ensemble)
    for found, expected in (
        (ensemble.log_z, exact.log_z),
        (energy, exact.energy),
        (capacity, exact.heat_capacity),
    ):
        assert abs(found.value - expected) < 4 * found.error
    assert ensemble.log_z.error < 0.02
    assert energy.error < 0.2
    assert capacity.error < 1.5


def test_heat_capacity_is_the_slope_of_the_energy(trained: bf.BoltzmannGenerator) -> None:
    """Fluctuations at 500 K against reweighted energies at 450 and 550 K, 20 000 samples each."""
    fluctuation = heat_capacity(trained.sample(20_000, temperature=500.0, seed=3))
    cold, hot = (trained.sample(20_000, temperature=t, seed=s) for t, s in ((450.0, 4), (550.0, 5)))
    one, two = (e.mean(e.energies) for e in (cold, hot))
    slope, error = 10.0 * (two.value - one.value), 10.0 * math.hypot(one.error, two.error)  # kJ per 100 K to J per K
    assert error < 1.5
    assert abs(slope - fluctuation.value) < 4 * math.hypot(error, fluctuation.error)


def test_log_z_differences_come_from_one_ensemble_too(trained: bf.BoltzmannGenerator) -> None:
    """log q of an ensemble is enough to weight it to another temperature."""
    ensemble = trained.sample(20_000, temperature=520.0, seed=6)
    assert ensemble.log_q is not None
    log_weights = -ensemble.energies / thermal_energy(480.0) - ensemble.log_q
    other = bf.Ensemble(ensemble.positions, ensemble.energies, 480.0, log_weights)
    assert abs(other.log_z.value - Exact.at(480.0).log_z) < 4 * other.log_z.error < 0.1


def test_log_prob_is_that_of_the_temperature() -> None:
    generator = make().to(dtype=torch.float64)
    randomize_parameters(generator.flow, scale=0.1)
    kelvins = torch.full((20, 1), 700.0, dtype=torch.float64)
    with torch.no_grad():
        z, log_q = generator.flow.sample(20, kelvins, generator=torch.Generator().manual_seed(0))
        positions, log_volume = generator.coordinates(z)
        torch.testing.assert_close(generator.log_prob(positions, temperature=700.0), log_q - log_volume)
        own = generator.log_prob(positions)
        assert not torch.allclose(own, log_q - log_volume, atol=1e-3)
        torch.testing.assert_close(own, generator.log_prob(positions, temperature=300.0))


def test_the_lowest_temperature_falls_and_the_highest_stays() -> None:
    generator, method = make(), ReverseKL(hot_temperature=5000.0)  # in place of it the range counts
    random = torch.Generator().manual_seed(0)
    seen = {}
    for step in (0, 50, 99):
        info = StepInfo(step, 100, 128, random)
        context = method.context(generator, info, runs=4)
        assert context is not None
        assert context.shape == (128, 1)
        lowest = method.temperature(generator, info)
        parts = (context / lowest).log().view(4, 32) / math.log(900.0 / lowest) * 4 if lowest < 900.0 else None
        if parts is not None:  # each run in its own part of log T
            assert torch.equal(parts.floor()[:, 0], torch.arange(4.0))
            assert (parts == parts[:, :1]).all()
        seen[step] = (lowest, float(context.min()), float(context.max()))
    assert seen[0] == pytest.approx((900.0, 900.0, 900.0))
    assert 300.0 < seen[50][0] < 900.0
    assert seen[99][0] == 300.0 < seen[99][1] < 400.0
    assert 680.0 < seen[99][2] < 900.0


@pytest.mark.parametrize(
    "method",
    [AlphaDivergence(), LogDispersion(), Phases((ReverseKL(), LogDispersion()), (0.5, 0.5))],
    ids=lambda method: type(method).__name__,
)
def test_the_other_methods_on_own_samples_learn_a_range(method: Method) -> None:
    """ESS of 4000 samples from 7 % to above 80 % in the middle; 200 steps."""
    generator = make()
    before = generator.sample(4000, temperature=600.0, seed=1).ess
    history = bf.train(generator, method, steps=200, **OPTIONS)  # type: ignore[arg-type]
    assert history.last.temperature_K == pytest.approx(300.0)
    assert before < 0.1
    for kelvin in RANGE:
        assert generator.sample(4000, temperature=kelvin, seed=1).ess > 0.5
    assert generator.sample(4000, temperature=600.0, seed=1).ess > 0.8


def test_recorded_sample_sizes_do_not_see_log_z(trained: bf.BoltzmannGenerator) -> None:
    """log Z at 300 and 900 K differ by 7; the recorded ESS of a trained flow is high all the same."""
    history = bf.train(trained, ReverseKL(hot_share=0.0, cooling_share=0.0), steps=1, **OPTIONS | {"batch_size": 2048})  # type: ignore[arg-type]
    assert Exact.at(900.0).log_z - Exact.at(300.0).log_z > 2.0
    assert history.last.ess > 0.6


@pytest.mark.parametrize(
    "method",
    [
        FAB(),
        TemperatureAnnealing(),
        ConstrainedTransport(),
        ForwardKL("nowhere"),
        Mixture((ReverseKL(), FAB()), (1.0, 1.0)),
    ],
    ids=lambda method: type(method).__name__,
)
def test_methods_of_one_temperature_refuse_it_before_they_begin(method: Method, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected a model of one temperature; got one of 300 to 900 K"):
        bf.train(make(), method, directory=tmp_path / "run", steps=2, **OPTIONS)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_file_holds_the_range(trained: bf.BoltzmannGenerator, tmp_path: Path) -> None:
    trained.save(tmp_path / "chain.safetensors")
    again = bf.BoltzmannGenerator.load(tmp_path / "chain.safetensors")
    assert again.temperatures == RANGE
    one, two = (g.sample(50, temperature=450.0, seed=0) for g in (trained, again))
    assert np.array_equal(one.positions, two.positions)
    assert np.array_equal(one.log_weights, two.log_weights)


def test_a_training_is_resumed_only_for_the_same_range(tmp_path: Path) -> None:
    start, options = make(), OPTIONS | {"steps": 6, "checkpoint_every": 3}
    bf.train(start, directory=tmp_path, **options)  # type: ignore[arg-type]
    again = bf.train(make(), directory=tmp_path, resume=True, **options)  # type: ignore[arg-type]
    assert again.last.step == 6
    with pytest.raises(FileFormatError, match="molecule"):
        bf.train(make(temperatures=(300.0, 800.0)), directory=tmp_path, resume=True, **options)  # type: ignore[arg-type]


def test_the_start_covers_the_highest_temperature() -> None:
    """The ESS of tables made at 900 K is above 50 % there, untrained; log Z by 20 000 samples."""
    wide = make(start="bonded").sample(20_000, temperature=900.0, seed=0)
    assert wide.ess > 0.5
    assert abs(wide.log_z.value - Exact.at(900.0).log_z) < 4 * wide.log_z.error


def test_impossible_temperatures_are_refused() -> None:
    generator = make()
    with pytest.raises(OptionError, match=r"covers \(300 to 900 K\); got 250 K"):
        generator.sample(10, temperature=250.0)
    with pytest.raises(OptionError, match=r"covers \(300 to 900 K\); got 901 K"):
        generator.log_prob(torch.zeros(1, 4, 3), temperature=901.0)
    with pytest.raises(OptionError, match=r"only 300 K\); got 301 K"):
        make(temperatures=None).sample(10, temperature=301.0)
    assert make(temperatures=None).sample(10, temperature=300.0).temperature == 300.0
    for temperatures, message in {
        (310.0, 600.0): r"contains the system's own, 300 K; got 310 to 600 K",
        (600.0, 300.0): r"Expected temperatures \(lowest, highest\)",
        (300.0, 1300.0): "up to 1200 K",
        (-1.0, 300.0): "positive temperature",
    }.items():
        with pytest.raises(OptionError, match=message):
            make(temperatures=temperatures)
