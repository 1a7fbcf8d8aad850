"""Samples against a reference: no alarm and honest floors where both are right, an alarm where one is not."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from scipy.stats import chi2

import boltzflow as bf
from boltzflow.analysis import as_reference, compare
from boltzflow.analysis.checks.binned import Bootstrap
from boltzflow.analysis.checks.comparison import (
    JENSEN_SHANNON,
    KL,
    TOTAL_VARIATION,
    WASSERSTEIN,
    Comparison,
    Distance,
    _verdict,
)
from boltzflow.analysis.checks.references import check_same_molecule
from boltzflow.analysis.estimates.torsion_states import TorsionStates
from boltzflow.analysis.report.plots import distances, marginals, ramachandran_comparison
from boltzflow.ensemble import Ensemble
from boltzflow.errors import FileFormatError, OptionError, ShapeError, SystemNotFoundError
from boltzflow.molecules import available_systems
from boltzflow.verdict import Trust
from tests.analysis.peptide import simulated, weighted

SEEDS = 30
PSI = TorsionStates(("40°", "130°"), (-1.0, 1.4))


def library(name: str) -> Path:
    return available_systems()[name] / "reference"


@pytest.fixture(scope="module")
def right() -> list[Comparison]:
    """4000 weighted samples against 32 simulations of 100 correlated frames of the same distribution."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        # The two peaks of ψ overlap, so that its density has one minimum.
        patch.setattr("boltzflow.analysis.checks.comparison.torsion_states", lambda *_: PSI)
        for seed in range(SEEDS):
            frames, ladders = simulated(32, 100, seed)
            found.append(compare(weighted(4000, seed), frames, pieces=ladders, seed=seed))
    return found


def test_floors_are_the_mean_distance_of_what_is_the_same(right: list[Comparison]) -> None:
    """z-scores of all marginals: mean near 0, and a scatter that the stated noise explains."""
    names = [m.observable.name for m in right[0].marginals]
    assert len(names) == 10  # energy, φ, ψ, four bonds and three angles
    for name in names:
        z = np.array([comparison.of(name).sigmas for comparison in right])
        assert np.abs(z).max() < 6.0  # a distance of two modes is half a Gaussian: 5 here is 4 of those
        assert abs(z.mean()) < 4 / math.sqrt(SEEDS), name
        low, high = chi2.ppf([1e-4, 1 - 1e-4], SEEDS - 1)
        assert low < (SEEDS - 1) * z.var(ddof=1) < 1.5 * high, name
    for measure in (TOTAL_VARIATION, KL):
        ratio = np.mean([c.of("ALA2", measure).value for c in right]) / np.mean(
            [c.of("ALA2", measure).floor for c in right]
        )
        assert 0.85 < ratio < 1.15, measure


def test_chances_are_uniform_and_basins_honest_where_both_are_right(right: list[Comparison]) -> None:
    chances = np.array([comparison.p_value for comparison in right])
    assert (chances < 0.05).mean() < 0.2
    assert (chances < 0.5).mean() > 0.2
    z = np.array([comparison.basins["ALA2"].sigmas for comparison in right])
    assert np.abs(z).max() < 4.0
    low, high = chi2.ppf([1e-4, 1 - 1e-4], SEEDS)
    assert low < np.square(z).sum() < high


def test_populations_are_compared_state_by_state(right: list[Comparison]) -> None:
    """φ as the basin, ψ in the same states of both sides: they sum to 1, and z explains their differences."""
    scores = []
    for comparison in right:
        rare, *psi = comparison.populations
        assert comparison.populations[rare] == comparison.basins["ALA2"]
        assert rare == "0 < phi ALA2 < 2.2 rad"
        assert psi == ["psi ALA2 40°", "psi ALA2 130°"]
        for side in ("samples", "reference"):
            total = sum(getattr(comparison.populations[name], side).value for name in psi)
            assert total == pytest.approx(1.0, abs=1e-9)
        scores.append(comparison.populations[psi[0]].sigmas)
        assert comparison.beyond == sum(abs(p.sigmas) > 3 for p in comparison.populations.values())
    assert np.abs(scores).max() < 4.0
    low, high = chi2.ppf([1e-4, 1 - 1e-4], SEEDS)
    assert low < np.square(scores).sum() < high
    assert sum(comparison.beyond for comparison in right) <= 2


def test_a_state_that_only_the_reference_has_is_beyond_three_errors() -> None:
    reference, ladders = simulated(64, 400, 0)
    samples = weighted(5000, 1, rare=0.0)
    lost = compare(samples[samples.log_weights > -100], reference, pieces=ladders)
    basin = lost.populations["0 < phi ALA2 < 2.2 rad"]
    assert basin.sigmas < -3
    assert lost.beyond >= 1
    document = json.loads(json.dumps(lost.document(), allow_nan=False))
    assert document["populations_beyond_3_sigmas"] == lost.beyond
    assert document["populations"]["0 < phi ALA2 < 2.2 rad"]["sigmas"] == basin.sigmas


def test_what_is_right_is_trusted() -> None:
    frames, ladders = simulated(64, 2000, 0)
    comparison = compare(weighted(60_000, 0), frames, pieces=ladders)
    assert comparison.verdict.trust == Trust.TRUST, comparison.verdict
    assert comparison.reference_pieces == 64


def test_a_lost_basin_a_thin_one_and_long_bonds_are_found() -> None:
    reference, ladders = simulated(64, 400, 0)
    samples = weighted(5000, 1, rare=0.0)
    lost = compare(samples[samples.log_weights > -100], reference, pieces=ladders)
    assert lost.verdict.trust == Trust.DO_NOT_USE
    assert "0 < φ < 2.2 rad of ALA2 is 0.00000" in lost.verdict.reason
    kl = lost.of("ALA2", KL)
    assert kl.value >= 0.0
    assert kl.missing == pytest.approx(lost.basins["ALA2"].reference.value, rel=0.2)
    assert {d["measure"]: d["missing"] for d in lost.document()["distances"]}[KL] == kl.missing
    assert lost.of("ALA2", JENSEN_SHANNON).missing == 0.0
    thin = compare(weighted(5000, 1, rare=0.15), reference, pieces=ladders)
    assert thin.verdict.trust > Trust.TRUST
    long = compare(weighted(5000, 1, stretch=1.005), reference, pieces=ladders)
    assert long.verdict.trust == Trust.DO_NOT_USE
    assert "bond" in str(long.verdict)
    assert long.of("bond ALA2-N ALA2-CA").value == pytest.approx(0.00075, rel=0.3)
    assert long.of("phi ALA2").sigmas < 4


def test_few_samples_of_a_rare_basin_are_no_alarm() -> None:
    """Ten light frames where seven are expected: their own error is far too small."""
    reference, ladders = simulated(64, 400, 0)
    samples = weighted(40, 3)
    phi = mdtraj.compute_phi(samples.to_mdtraj())[1][:, 0]
    logs = np.where((phi > 0) & (phi < 2.2), samples.log_weights - 3.0, samples.log_weights)
    few = Ensemble(samples.positions, samples.energies, 300.0, logs, samples.log_q, samples.topology)
    basin = compare(few, reference, pieces=ladders).basins["ALA2"]
    wald = (basin.samples.value - basin.reference.value) / basin.samples.error
    assert wald < -6
    assert abs(basin.sigmas) < 4


def test_too_few_frames_do_not_tell() -> None:
    reference, _ = simulated(4, 50, 0)
    verdict = compare(weighted(500, 0), reference).verdict
    assert verdict.trust == Trust.WITH_CARE
    assert "too few frames to tell" in verdict.reason


def test_a_trajectory_is_cut_into_pieces_longer_than_its_correlation() -> None:
    slow, _ = simulated(1, 4000, 0)
    one = as_reference(slow.to_mdtraj(), 300.0)
    assert not one.has_energies
    assert one.n_pieces < 64  # changes of the basin take twenty frames
    quick = Ensemble(slow.positions, slow.energies, 300.0, log_q=np.zeros(len(slow)), topology=slow.topology)
    assert as_reference(quick, 300.0).n_pieces == 64  # a sampler's frames are independent
    names = [m.observable.name for m in compare(weighted(500, 0), slow.to_mdtraj()).marginals]
    assert "potential energy" not in names
    without = compare(weighted(500, 0).replace(energies=None), slow)  # neither does it take samples' energies for given
    assert "potential energy" not in [m.observable.name for m in without.marginals]


def test_pieces_are_the_same_of_an_ensemble_and_of_its_directory(tmp_path: Path) -> None:
    frames, ladders = simulated(8, 50, 0)
    grouped = Ensemble(frames.positions, frames.energies, 300.0, topology=frames.topology, groups=ladders)
    grouped.save(tmp_path)
    np.testing.assert_array_equal(as_reference(tmp_path, 300.0).pieces, as_reference(grouped, 300.0).pieces)
    halves = as_reference(as_reference(tmp_path, 300.0), 300.0, pieces=ladders // 2)
    np.testing.assert_array_equal(halves.pieces, ladders // 2)
    with pytest.raises(ShapeError, match="one block index for each of the 400 frames"):
        as_reference(tmp_path, 300.0, pieces=[0, 1])


def test_the_library_keeps_torsions_by_ladder_and_surfaces_of_all_temperatures() -> None:
    reference = as_reference(library("alanine_dipeptide"), 300.0)
    assert (reference.n_pieces, len(reference), reference.ensemble) == (64, 15_360, None)
    system = bf.load_system("alanine_dipeptide")
    check_same_molecule(system.mdtraj_topology, reference)
    with pytest.raises(ShapeError, match="torsions are those of another"):
        check_same_molecule(bf.load_system("butane").mdtraj_topology, reference)
    frames = np.repeat(system.positions[None], 10, 0)
    one = compare(Ensemble(frames, np.zeros(10), 300.0, topology=system.mdtraj_topology), reference)
    assert one.verdict.trust == Trust.DO_NOT_USE
    assert one.surfaces["ALA2"].reference.sum() == pytest.approx(1.0)
    stated = np.load(library("alanine_dipeptide") / "torsions.npz")["histogram_2d_error"][0]
    met = one.surfaces["ALA2"].reference_errors > 0
    np.testing.assert_allclose(one.surfaces["ALA2"].reference_errors[met], stated[met], rtol=0.5, atol=1e-4)


def test_frames_of_weight_zero_may_be_kept(tmp_path: Path) -> None:
    shutil.copytree(library("butane"), tmp_path / "r")
    with np.load(tmp_path / "r" / "torsions.npz") as file:
        stored = dict(file)
    stored["weights"][0] = 0.0
    np.savez(tmp_path / "r" / "torsions.npz", **stored)
    assert np.isneginf(as_reference(tmp_path / "r", 300.0).log_weights[0])


def test_references_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SystemNotFoundError, match=r"Expected a reference in .*found neither"):
        as_reference(tmp_path, 300.0)
    with pytest.raises(OptionError, match="reference at 310 K; got one at 300 K"):
        as_reference(library("butane"), 310.0)
    shutil.copytree(library("butane"), tmp_path / "r")
    (tmp_path / "r" / "reference.json").write_text(json.dumps({"ladders": 7}))
    with pytest.raises(FileFormatError, match="frames of 7 ladders"):
        as_reference(tmp_path / "r", 300.0)
    (tmp_path / "r" / "torsions.npz").write_bytes(b"no")
    with pytest.raises(FileFormatError, match=r"torsions\.npz"):
        as_reference(tmp_path / "r", 300.0)
    samples = weighted(100, 0)
    with pytest.raises(ShapeError, match="5 atoms; got 22"):
        compare(samples, _dipeptide())
    with pytest.raises(ShapeError, match="one block index for each of the 100 frames"):
        compare(samples, samples, pieces=[0, 1])


def _dipeptide() -> mdtraj.Trajectory:
    system = bf.load_system("alanine_dipeptide")
    return mdtraj.Trajectory(np.repeat(system.positions[None], 5, 0), system.mdtraj_topology)


def test_too_few_replicates_or_pieces_are_refused() -> None:
    frames, ladders = simulated(4, 50, 0)
    samples = weighted(500, 0)
    with pytest.raises(OptionError, match="at least 200 replicates for a p-value; got 98"):
        compare(samples, frames, pieces=ladders, replicates=98)
    with pytest.raises(
        OptionError, match=r"at least 4 independent blocks .* got 64 of the samples and 2 of the reference"
    ):
        compare(samples, frames, pieces=ladders // 2)
    one = Ensemble(samples.positions, samples.energies, 300.0, topology=samples.topology, groups=np.zeros(500, int))
    with pytest.raises(OptionError, match="got 1 of the samples and 4 of the reference"):
        compare(one, frames, pieces=ladders)


def test_few_pieces_and_large_differences_without_significance_are_not_trusted() -> None:
    small, large = (Distance("phi", WASSERSTEIN, "rad", value, 0.02, 0.05, 1.0) for value in (0.03, 0.1))
    assert _verdict((small,), {}, 0.3, 64).trust == Trust.TRUST
    assert "uses only 9 independent blocks" in _verdict((small,), {}, 0.3, 9).reason
    found = _verdict((large,), {}, 0.3, 64)
    assert found.trust == Trust.WITH_CARE
    assert "8.0% above its noise" in found.reason
    assert _verdict((large,), {}, 0.005, 64).trust == Trust.DO_NOT_USE


def test_without_noise_any_difference_is_one() -> None:
    assert Distance("bond", WASSERSTEIN, "nm", 1e-3, 0.0, 0.0, 1e-3).sigmas == math.inf
    assert Distance("bond", WASSERSTEIN, "nm", 2e-17, 0.0, 1e-18, 1e-3).sigmas == 0.0  # rounding
    reference, _ = simulated(8, 50, 0)
    still = Ensemble(np.repeat(reference.positions[:1], 50, 0), np.zeros(50), 300.0, topology=reference.topology)
    longer = Ensemble(1.01 * still.positions, still.energies, 300.0, topology=reference.topology)
    found = compare(still, longer)
    assert found.p_value < 0.01
    assert found.verdict.trust == Trust.DO_NOT_USE


def test_all_in_a_basin_against_none_is_a_difference() -> None:
    frames, _ = simulated(16, 200, 0)
    phi = mdtraj.compute_phi(frames.to_mdtraj())[1][:, 0]
    inside = (phi > 0) & (phi < 2.2)
    found = compare(frames[~inside][:60], frames[inside][:60])
    assert found.basins["ALA2"].sigmas < -4
    assert found.of("ALA2", KL).missing == 1.0
    assert found.verdict.trust == Trust.DO_NOT_USE


def test_copies_of_frames_are_no_more_frames() -> None:
    few = weighted(40, 3)
    copies = few.resample(4000)
    assert as_reference(copies, 300.0).effective_frames == pytest.approx(len(few) * few.ess, rel=0.05)
    assert as_reference(few, 300.0).effective_frames == pytest.approx(len(few) * few.ess)


def test_many_groups_are_merged_without_loss() -> None:
    n, bins = 20_000, 36**2
    frames = Ensemble(np.zeros((2 * n, 1, 3)), np.zeros(2 * n), 300.0, groups=np.arange(2 * n) // 2)
    inside = np.repeat(np.random.default_rng(1).random(n) < 0.1, 2).astype(np.int64)
    tracemalloc.start()
    try:
        shares = Bootstrap(as_reference(frames, 300.0), 200, np.random.default_rng(0)).shares(inside, bins)
        assert tracemalloc.get_traced_memory()[1] < 3e7
    finally:
        tracemalloc.stop()
    assert shares.errors[1] == pytest.approx(frames.mean(inside == 1).error, rel=0.35)  # 64 pieces


def test_what_constraints_hold_is_no_difference() -> None:
    reference, _ = simulated(8, 50, 0)
    still = Ensemble(np.repeat(reference.positions[:1], 50, 0), np.zeros(50), 300.0, topology=reference.topology)
    moved = Ensemble(still.positions + 1e-9, still.energies, 300.0, topology=reference.topology)
    comparison = compare(still, moved)
    assert max(distance.value for distance in comparison.distances) < 1e-6
    assert comparison.p_value == 1.0


def test_pictures_and_the_document(right: list[Comparison], tmp_path: Path) -> None:
    ramachandran_comparison(right[0].surfaces, 300.0, "a peptide", tmp_path / "surfaces.png")
    marginals(right[0], "a peptide", tmp_path / "marginals.png")
    distances(right[0], "a peptide", tmp_path / "distances.png")
    for name in ("surfaces", "marginals", "distances"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    document = json.loads(json.dumps(right[0].document(), allow_nan=False))
    assert len(document["distances"]) == 3 + 10
    assert document["basins"]["ALA2"]["reference"]["error"] > 0
