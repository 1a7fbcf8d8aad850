"""The alarm rings for a generator that has lost a basin, and not for one that has both."""

from __future__ import annotations

import math
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import Trust, check_collapse, log_weights_of, unfold
from boltzflow.analysis.checks.collapse import coverage_verdict
from boltzflow.coordinates import InternalCoordinates
from boltzflow.errors import OptionError, TopologyError
from boltzflow.estimate import Estimate
from boltzflow.training import ForwardKL, ReverseKL
from tests.analysis.exact import chain
from tests.molecules.ethane import ethane

STRUCTURES = Path(__file__).parents[1] / "molecules" / "structures"
OPTIONS = {"batch_size": 128, "compile": False, "progress": False, "warmup": 5, "learning_rate": 1e-2}
OPTIONS |= {"optimizer": "adam", "precision": "float32"}
NONE = Estimate(0.0, 3 / 32)


def generator() -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(32,), bins=6, start="plain", harmonics=1)


@pytest.fixture(scope="module")
def good() -> bf.BoltzmannGenerator:
    both = generator()
    bf.train(both, ReverseKL(), steps=160, **OPTIONS)
    return both


def test_both_wells_are_no_alarm(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(4000, seed=1)
    check = check_collapse(good, ensemble, picoseconds=4.0, ladders=8, compile=False)
    assert str(check.verdict).startswith("Trust: no sign of a lost basin")
    assert check.missed == (0.0, 3 / 8)
    assert check.expected == 0.0
    assert check.frames == 20 * 8
    # The effective sample size that p's samples see is that of q's own, where nothing is lost.
    assert check.forward_ess == pytest.approx(ensemble.ess, abs=0.15)


def test_a_lost_well_rings() -> None:
    """A generator that stays in the deep well: its own effective sample size is high, and its answer wrong."""
    specification = chain().coordinates().specification
    (torsion,) = (i for i, kind in enumerate(specification["kinds"]) if kind == "circle")
    specification["kinds"][torsion] = "interval"
    specification["low"][torsion], specification["high"][torsion] = -math.pi / 2, math.pi / 2
    half = InternalCoordinates.from_specification(specification)
    lost = bf.BoltzmannGenerator.for_system(chain(), coordinates=half, layers=2, hidden=(32,), bins=6)
    bf.train(lost, ReverseKL(), steps=160, **OPTIONS)
    ensemble = lost.sample(4000, seed=1)
    assert ensemble.ess > 0.7
    check = check_collapse(lost, ensemble, picoseconds=4.0, ladders=8, compile=False)
    assert str(check.verdict).startswith("Do not use: a basin is lost")
    assert 0.04 < check.missed.value < 0.3  # the shallow well holds 12 %
    assert check.outside == check.missed
    assert check.forward_ess == 0.0


def test_a_well_that_few_samples_reach_shows_in_the_simulation(good: bf.BoltzmannGenerator, tmp_path) -> None:
    """Learnt from frames of the deep well alone: 100 samples do not see what it is worth, the simulation does."""
    teacher = good.sample(20_000, seed=2)
    phi = mdtraj.compute_dihedrals(teacher.to_mdtraj(), [[0, 1, 2, 3]])[:, 0]
    teacher[np.abs(phi) < math.pi / 2].save(tmp_path)
    thin = generator()
    bf.train(thin, ForwardKL(str(tmp_path)), steps=300, **OPTIONS)
    ensemble = thin.sample(100, seed=1)
    check = check_collapse(thin, ensemble, picoseconds=4.0, ladders=8, compile=False)
    assert check.outside.value == 0.0
    assert check.forward_ess < 0.5 * ensemble.ess
    assert check.verdict.trust > Trust.TRUST


def test_a_low_effective_sample_size_alone_is_no_lost_basin() -> None:
    """Log-normal weights of an effective sample size of 5 %: p has 3.4 % where they are 100 times the mean."""
    missed, by_its_own = Estimate(0.034, 0.003), 0.036
    fine = coverage_verdict(missed, NONE, by_its_own, 0.05, 0.05, "a simulation")
    assert str(fine).startswith("Trust: no sign of a lost basin: 3.40% ± 0.30%")
    assert coverage_verdict(missed, NONE, 0.0, 0.05, 0.05, "a simulation").trust is Trust.DO_NOT_USE
    by_one_ladder_of_32 = Estimate(1 / 32, 1 / 32)
    assert coverage_verdict(by_one_ladder_of_32, NONE, 0.0, 0.25, 0.4, "a simulation").trust is Trust.WITH_CARE
    within_its_error = Estimate(0.003, 0.002)
    assert coverage_verdict(within_its_error, NONE, 0.0, 0.05, 0.05, "a simulation").trust is Trust.TRUST
    assert coverage_verdict(Estimate(0.003, 0.001), NONE, 0.0, 0.6, 0.6, "a simulation").trust is Trust.WITH_CARE
    nothing = coverage_verdict(Estimate(0.0, 3 / 32), NONE, 0.0, 0.6, 0.6, "a simulation")
    assert "a basin with a population below 9% may have been missed" in nothing.reason
    blind = coverage_verdict(Estimate(0.0, 3 / 4), NONE, 0.0, 0.6, 0.6, "a simulation")
    assert blind.trust is Trust.WITH_CARE
    assert "too few independent blocks to tell" in blind.reason


@pytest.mark.parametrize("expected", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("forward_ess", [0.0, 1e-5])
def test_a_generator_that_the_simulation_hardly_meets_is_never_trusted(expected: float, forward_ess: float) -> None:
    """With an effective sample size of one sample, its own samples "explain" that everything is undersampled."""
    for missed in (Estimate(1.0, 0.0), Estimate(0.6, 0.2)):
        found = coverage_verdict(missed, NONE, expected, forward_ess, 1e-5, "a simulation")
        assert found.trust is Trust.DO_NOT_USE
    assert coverage_verdict(Estimate(0.2, 0.05), NONE, 0.4, 0.01, 0.01, "a simulation").trust is Trust.WITH_CARE


def test_what_is_outside_the_domain_is_not_explained_by_the_samples() -> None:
    missed, outside = Estimate(0.05, 0.005), Estimate(0.04, 0.005)
    assert coverage_verdict(missed, outside, 0.06, 0.05, 0.05, "a simulation").trust is Trust.DO_NOT_USE
    assert coverage_verdict(Estimate(0.08, 0.06), outside, 0.0, 0.05, 0.05, "a simulation").trust is Trust.DO_NOT_USE
    assert coverage_verdict(missed, Estimate(0.04, 0.03), 0.06, 0.05, 0.05, "a simulation").trust is Trust.WITH_CARE


def test_exchanged_equivalent_atoms_are_not_outside() -> None:
    """Ladders that start with all labels, as if methyls had exchanged hydrogens while hot."""
    system = ethane()
    fine = bf.BoltzmannGenerator.for_system(system, layers=2, hidden=(16,))
    ensemble = fine.sample(4000, seed=1)
    everywhere = unfold(ensemble, system.symmetry().copies(fine.coordinates), seed=2)
    assert 0.6 < np.isinf(log_weights_of(fine, everywhere)).mean() < 0.9  # three of four copies
    free = ensemble.replace(positions=everywhere.positions)
    check = check_collapse(fine, free, picoseconds=2.0, ladders=8, compile=False)
    assert check.outside.value == 0.0
    assert check.verdict.trust is Trust.TRUST


def test_two_molecules_are_not_simulated() -> None:
    dimer = bf.MolecularSystem.from_pdb(STRUCTURES / "water_dimer.pdb", ["amber14/tip3p.xml"])
    pair = bf.BoltzmannGenerator.for_system(dimer, layers=1, hidden=(8,), start="plain")
    with pytest.raises(TopologyError, match="Expected one molecule; got 2, which would drift apart"):
        check_collapse(pair, pair.sample(100, seed=1))


def test_log_weights_of_frames_are_those_of_samples(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(500, seed=3)
    np.testing.assert_allclose(log_weights_of(good, ensemble), ensemble.log_weights, atol=5e-3)
    outside = ensemble.positions.copy()
    outside[0, 3] += 1.0
    assert log_weights_of(good, outside)[0] == math.inf


def test_impossible_options_are_refused(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(100, seed=3)
    with pytest.raises(OptionError, match="at least 2 ladders"):
        check_collapse(good, ensemble, ladders=1)
    with pytest.raises(OptionError, match=r"own temperature, 300 K; got some at 330 K"):
        check_collapse(good, ensemble.at(330.0), ladders=2)
    with pytest.raises(OptionError, match="positive times"):
        check_collapse(good, ensemble, picoseconds=0.0)
