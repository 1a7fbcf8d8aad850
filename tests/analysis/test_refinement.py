"""Markov chains and annealing from a poor generator to the equilibrium of four atoms, which is known by quadrature."""

from __future__ import annotations

import math
from functools import cache

import mdtraj
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import boltzflow as bf
from boltzflow.analysis import absolute_free_energy, anneal, hamiltonian_moves, independence_metropolis
from boltzflow.analysis.weighting.refinement import _adapted, _Latent, _weighted
from boltzflow.core.samplers import linear_schedule, sequential_monte_carlo
from boltzflow.energies import TorchPotential
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DomainError, IntractableDensityError, NonFiniteError, OptionError
from boltzflow.estimate import Estimate
from boltzflow.units import thermal_energy
from tests.analysis.exact import chain, chain_moments
from tests.scores import check_z_scores

KT = thermal_energy(300.0)


@cache
def poor() -> bf.BoltzmannGenerator:
    """Untrained, its splines bent at random; in double precision."""
    generator = bf.BoltzmannGenerator.for_system(
        chain(), layers=2, hidden=(8,), bins=4, start="plain", seed=1, harmonics=1
    )
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in generator.flow.transform.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=random))
    generator.potential = TorchPotential(generator.system.openmm_system, compile=False)  # sooner than a compiler
    return generator.to(dtype=torch.float64)


@cache
def drawn() -> Ensemble:
    return poor().sample(10_000, seed=5)


def phi(ensemble: Ensemble) -> NDArray[np.float64]:
    return mdtraj.compute_dihedrals(ensemble.to_mdtraj(), [[0, 1, 2, 3]])[:, 0].astype(np.float64)


@cache
def exact() -> dict[str, float]:
    """log Z, the mean energy and the mean cosine of the torsion, by quadrature."""
    t = np.linspace(-math.pi, math.pi, 4001)
    density = np.exp(-(6 * (1 - np.cos(2 * t)) + 2.5 * (1 - np.cos(t))) / KT)
    log_z, energy, _ = chain_moments(300.0)
    cosine = np.trapezoid(np.cos(t) * density, t) / np.trapezoid(density, t)
    return {"log_z": log_z, "energy": energy, "cosine": float(cosine)}


def scores(ensemble: Ensemble) -> tuple[float, float]:
    """z-scores of the mean energy and of the torsion's mean cosine."""
    found = {"energy": ensemble.mean(ensemble.energies), "cosine": ensemble.mean(np.cos(phi(ensemble)))}
    return tuple(_score(found[name], exact()[name]) for name in ("energy", "cosine"))  # type: ignore[return-value]


def _score(found: Estimate, truth: float) -> float:
    return float((found.value - truth) / found.error)


def check(ensembles: list[Ensemble]) -> None:
    for z in zip(*(scores(ensemble) for ensemble in ensembles), strict=True):
        check_z_scores(z)


def check_free_energies(ensembles: list[Ensemble]) -> None:
    """−kT log Z against quadrature."""
    found = [absolute_free_energy(ensemble) for ensemble in ensembles]
    check_z_scores([(one.value + KT * exact()["log_z"]) / one.error for one in found])


def test_the_generator_is_poor_and_its_weights_are_right() -> None:
    assert drawn().ess < 0.2
    parts = [drawn()[i::25] for i in range(25)]
    check(parts)
    check_free_energies(parts)


# -- independence Metropolis -----------------------------------------------------------------------


def test_averages_over_chains_have_honest_errors() -> None:
    """40 ensembles of 64 chains of 300 frames: of log-normal weights, and a value that goes with them."""
    z, kept = [], set()
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=64 * 300)
        start = Ensemble(np.zeros((len(x), 1, 3)), x, 300.0, log_weights=0.5 * x)  # p = N(0.5, 1)
        found = independence_metropolis(start, seed=seed)
        z.append(_score(found.mean(found.energies), 0.5))
        kept.add(len(found))
        assert found.ess == 1.0
        naive = found.energies.std() / math.sqrt(len(found))
        assert found.mean(found.energies).error > 1.1 * naive
    assert kept == {64 * 240}
    check_z_scores(z)
    assert len(set(found.groups)) == 64


def test_chains_of_a_molecule_are_right() -> None:
    found = independence_metropolis(drawn(), chains=16, burn_in=0.9)  # the largest weight is 117 times the mean
    assert found.groups is not None
    z = scores(found)
    assert np.abs(z).max() < 4.0
    assert found.log_q is None
    with pytest.raises(OptionError, match="known only up to a factor"):
        absolute_free_energy(found)


def test_chains_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="got 1 chains of 10000 frames"):
        independence_metropolis(drawn(), chains=1)
    with pytest.raises(OptionError, match="of 1 frames"):
        independence_metropolis(drawn()[:100], chains=64)
    with pytest.raises(OptionError, match="burn-in between 0 and 1"):
        independence_metropolis(drawn(), burn_in=1.0)
    with pytest.raises(OptionError, match="got frames in groups"):
        independence_metropolis(drawn().resample(20_000))
    dead = Ensemble(np.zeros((100, 1, 3)), np.full(100, np.inf), 300.0)
    with pytest.raises(NonFiniteError, match="at least one positive weight"):
        independence_metropolis(dead, chains=4)
    late = Ensemble(np.zeros((400, 1, 3)), np.zeros(400), 300.0, np.where(np.arange(400) < 30, -np.inf, 0.0))
    with pytest.raises(NonFiniteError, match="positive weight in the burn-in of each chain"):
        independence_metropolis(late, chains=4)


def test_chains_that_remember_their_start_are_refused() -> None:
    """Of a hundred frames one weighs 20 times the mean: 1 % of its start is left after log 0.01 / log 0.95 steps."""
    weights = np.full(1000, 80.0 / 99.0)
    weights[::100] = 20.0
    drawn = Ensemble(np.zeros((1000, 1, 3)), np.zeros(1000), 300.0, np.log(weights))
    expected = (
        "chains of at least 450 frames with 90 of burn-in, since the largest weight is 20 times the mean; got 250"
    )
    with pytest.raises(OptionError, match=expected):
        independence_metropolis(drawn, chains=4)
    assert len(independence_metropolis(drawn, chains=2, burn_in=0.2)) == 800
    equal = Ensemble(np.zeros((8, 1, 3)), np.zeros(8), 300.0)
    assert len(independence_metropolis(equal, chains=2)) == 8


# -- Hamiltonian moves -------------------------------------------------------------------------------


def test_latent_density_over_that_of_the_base_is_the_weight() -> None:
    """The splines' determinants count; positions in single precision lead back to z."""
    latent, start = _Latent(poor(), None), drawn()[:200]
    with torch.no_grad():
        z = latent.inverse(torch.from_numpy(start.positions))
        log_weights = latent.log_prob(z) - latent.base.log_prob(z)
        assert np.ptp((latent.log_prob(z) - latent.target.log_prob(poor().flow.transform(z)[0])).numpy()) > 0.1
    np.testing.assert_allclose(log_weights.numpy(), start.log_weights, atol=0.01)
    positions, energies = latent.structures(z)
    np.testing.assert_allclose(energies, start.energies, atol=0.02)
    np.testing.assert_allclose(positions, start.positions, atol=1e-5)


def test_moves_leave_the_equilibrium_and_the_weights() -> None:
    """25 parts of 400 weighted frames."""
    start = drawn()
    moved = hamiltonian_moves(start, poor(), moves=2, leapfrog_steps=3)
    np.testing.assert_array_equal(moved.log_weights, start.log_weights)
    assert absolute_free_energy(moved) == absolute_free_energy(start)
    used = start.weights > 1e-9
    assert (moved.energies[used] != start.energies[used]).mean() > 0.5
    check([moved[i::25] for i in range(25)])
    energies = poor().potential.energy(torch.from_numpy(moved.positions[:50]).double()).numpy()
    np.testing.assert_allclose(moved.energies[:50], energies, atol=0.02)  # positions are in single precision


def test_moves_part_the_copies_of_a_frame() -> None:
    """100 frames drawn 400 times: the mean energy has a smaller error after moves, and is right."""
    start = drawn()[:100].resample(400)
    moved = hamiltonian_moves(start, poor(), moves=4, leapfrog_steps=4)
    before, after = start.mean(start.energies), moved.mean(moved.energies)
    assert after.error < 0.8 * before.error
    assert abs(_score(after, exact()["energy"])) < 4.0
    assert moved.groups is not None
    np.testing.assert_array_equal(moved.groups, start.groups)


def test_what_cannot_be_moved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf.BoltzmannGenerator, "_adapt", lambda *_: None)  # of the stochastic layers: takes long
    outside = Ensemble(drawn().positions[:3] * 2, np.zeros(3), 300.0)
    with pytest.raises(DomainError, match="3 of 3 lie outside"):
        hamiltonian_moves(outside, poor())
    with pytest.raises(OptionError, match="at least one move; got 0"):
        hamiltonian_moves(drawn()[:3], poor(), moves=0)
    with pytest.raises(OptionError, match=r"only 300 K\); got 310 K"):
        hamiltonian_moves(Ensemble(drawn().positions[:3], np.zeros(3), 310.0), poor())
    stochastic = bf.BoltzmannGenerator.for_system(
        chain(), layers=3, hidden=(8,), start="plain", stochastic="metropolis", stochastic_every=2
    )
    with pytest.raises(IntractableDensityError, match="got stochastic layers"):
        hamiltonian_moves(drawn()[:3], stochastic)


# -- annealing -----------------------------------------------------------------------------------------


def test_annealed_samples_are_right() -> None:
    """Without resampling samples are independent: 25 parts of 100, against quadrature, log Z too."""
    found = anneal(poor(), 2500, resample_below=0.0, leapfrog_steps=3)
    assert found.groups is None
    assert found.ess > 1.5 * drawn().ess
    parts = [found[i::25] for i in range(25)]
    check(parts)
    check_free_energies(parts)
    hot = [part.at(330.0) for part in parts]
    check_z_scores([_score(part.log_z, chain_moments(330.0)[0]) for part in hot])
    assert all(part.absolute for part in hot)


def test_resampled_runs_have_honest_errors() -> None:
    """20 runs of 100 samples that resample at each of 4 levels, as `anneal` makes them."""
    latent, random = _Latent(poor(), None), torch.Generator().manual_seed(0)
    kernel = _adapted(latent, 1, 3, random)
    runs = []
    for _ in range(20):
        samples = sequential_monte_carlo(
            latent.base, latent, linear_schedule(5), kernel, 100, resample_below=0.99, generator=random
        )
        runs.append(_weighted(latent, samples))
    assert all(run.groups is not None for run in runs)
    check(runs)
    check_free_energies(runs)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(OptionError, match="at least two samples; got 1"):
        anneal(poor(), 1)
