"""Ensembles: weighted means against known answers, failed frames, files."""

import mdtraj
import numpy as np
import pytest
import torch

from boltzflow.analysis import absolute_free_energy, decorrelated, diagnose, heat_capacity, temperature_series
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, FileFormatError, NonFiniteError, OptionError, ShapeError, SystemNotFoundError
from tests.scores import check_z_scores


def diatomic_topology():
    topology = mdtraj.Topology()
    residue = topology.add_residue("N2", topology.add_chain())
    for name in ("N1", "N2"):
        topology.add_atom(name, mdtraj.element.nitrogen, residue)
    return topology


def make_ensemble(n=4000, seed=0, **changes):
    """A diatomic whose bond length is N(0.12, 0.01) under the target, drawn from N(0.12, 0.014)."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n) * 1.4
    positions = np.zeros((n, 2, 3))
    positions[:, 1, 0] = 0.12 + 0.01 * t
    options = {
        "positions": positions,
        "energies": t**2,
        "temperature": 300.0,
        "log_weights": -0.5 * t**2 * (1 - 1 / 1.4**2),
        "log_q": -0.5 * (t / 1.4) ** 2,
        "topology": diatomic_topology(),
    }
    return Ensemble(**{**options, **changes})


def bond_lengths(trajectory):
    return mdtraj.compute_distances(trajectory, [[0, 1]], periodic=False)[:, 0]


@pytest.mark.parametrize("seed", range(3))
def test_mean_of_an_observable_agrees_with_the_truth_within_its_error(seed):
    ensemble = make_ensemble(seed=seed)
    value, error = ensemble.mean(bond_lengths)
    assert isinstance(value, float)
    assert abs(value - 0.12) / error < 3.5
    squares = ensemble.mean(np.stack([bond_lengths(ensemble.to_mdtraj()) ** k for k in (1, 2)], 1))
    assert (np.abs(squares.value - [0.12, 0.12**2 + 0.01**2]) / squares.error < 3.5).all()


def test_quantiles_agree_with_the_truth_within_their_errors():
    """Of the bond length, N(0.12, 0.01) under the target; −1.2816 σ is its lowest decile."""
    ensemble = make_ensemble(n=20_000)
    for share, truth in ((0.1, 0.12 - 0.012816), (0.5, 0.12), (0.9, 0.12 + 0.012816)):
        value, error = ensemble.quantile(bond_lengths, share)
        assert isinstance(value, float)
        assert abs(value - truth) < 3.5 * error < 0.002
    assert ensemble.quantile(np.zeros((20_000, 3, 2))).value.shape == (3, 2)


def test_a_bootstrap_is_its_seeds():
    ensemble = make_ensemble(n=500)
    first, second, third = (
        ensemble.mean(bond_lengths, error="bootstrap", replicates=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second != third
    assert first.error == pytest.approx(ensemble.mean(bond_lengths).error, rel=0.4)  # 50 replicates: to 10 %


def test_a_share_of_none_or_all_has_the_error_of_one_effective_sample():
    ensemble = make_ensemble(n=1001)
    bound = 1 / (ensemble.ess * 1001)
    for error in ("delta", "bootstrap"):
        assert ensemble.mean(np.ones(1001, bool), error=error) == (1.0, pytest.approx(bound))
        assert ensemble.mean(np.zeros(1001, bool), error=error) == (0.0, pytest.approx(bound))
    assert ensemble.mean(np.ones(1001)).error == pytest.approx(0.0)  # a number that does not vary is known


def test_functions_see_frames_of_positive_weight_only():
    whole = make_ensemble(n=10)
    energies, positions = whole.energies.copy(), whole.positions.copy()
    energies[4], positions[4] = np.inf, np.nan
    ensemble = make_ensemble(n=10, energies=energies, positions=positions)

    def lengths(trajectory):
        assert trajectory.n_frames == 9
        assert np.isfinite(trajectory.xyz).all()
        return bond_lengths(trajectory)

    values = np.insert(lengths(ensemble[ensemble.weights > 0].to_mdtraj()), 4, np.nan)
    assert ensemble.mean(lengths) == ensemble.mean(values)
    assert ensemble.quantile(lengths) == ensemble.quantile(values)


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        (lambda t: t.n_frames, {}, ShapeError, "single number"),
        (lambda t: np.zeros(t.n_frames + 1), {}, ShapeError, "each of 10 frames; got 11"),
        (np.zeros(9), {}, ShapeError, "each of 10 frames; got 9"),
        (np.array(["H"] * 10), {}, OptionError, "numbers or booleans"),
        (np.full(10, np.nan), {}, NonFiniteError, "positive weight"),
        (np.zeros(10), {"error": "guess"}, OptionError, "'delta' or 'bootstrap'"),
        (np.zeros(10), {"error": "bootstrap", "replicates": 1}, OptionError, "at least 2"),
    ],
)
def test_impossible_observables_are_refused(values, options, error, message):
    with pytest.raises(error, match=message):
        make_ensemble(n=10).mean(values, **options)


def test_log_z_and_ess_agree_with_the_truth():
    ensemble = make_ensemble(n=100_000)
    log_z = ensemble.log_z
    assert abs(log_z.value + np.log(1.4)) / log_z.error < 3.5  # E_q exp(−t²(1 − 1/s²)/2) = 1/s
    assert ensemble.ess == pytest.approx(1 / (1.4 / np.sqrt(2 - 1 / 1.4**2)), rel=0.01)
    assert ensemble.ess_clipped(0.5) > ensemble.ess
    assert ensemble.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("scheme", ["systematic", "residual", "multinomial"])
@pytest.mark.parametrize("n", [300, 4000])
def test_errors_of_resampled_frames_are_honest(n, scheme):
    """100 ensembles of 1000 frames: fewer frames than these, and more, so that most come up many times."""
    z = []
    for seed in range(100):
        ensemble = make_ensemble(1000, seed).resample(n, scheme, seed + 100)
        assert len(ensemble) == n
        value, error = ensemble.mean(bond_lengths)
        z.append((value - 0.12) / error)
    check_z_scores(z)
    assert ensemble.ess == 1.0
    assert ensemble.log_q is None
    assert ensemble.log_weights.tolist() == [0.0] * n


def test_accepted_frames_are_unweighted_and_right():
    """100 ensembles of 1000 frames; all weights are at most 1."""
    z = []
    for seed in range(100):
        ensemble = make_ensemble(1000, seed).accept(log_bound=0.0, seed=seed)
        assert 600 < len(ensemble) < 800
        value, error = ensemble.mean(bond_lengths)
        z.append((value - 0.12) / error)
    check_z_scores(z)
    assert len(set(ensemble.groups)) == len(ensemble)  # no copies; groups tell that frames were drawn from others
    assert len(make_ensemble(1000).accept()) >= len(make_ensemble(1000).accept(log_bound=0.0))
    with pytest.raises(OptionError, match="up to the bound -1"):
        make_ensemble(1000).accept(-1.0)
    with pytest.raises(NonFiniteError, match="none of 10 was accepted with weights up to"):
        make_ensemble(10).accept(200.0)


def test_dead_frames_cannot_be_resampled_or_accepted():
    dead = make_ensemble(10, energies=np.full(10, np.inf))
    for call in (lambda: dead.resample(5), dead.accept, lambda: dead.largest_weight, lambda: dead.perplexity):
        with pytest.raises(NonFiniteError, match="all 10 are zero"):
            call()


def test_groups_stay_with_their_frames(tmp_path):
    ensemble = make_ensemble(6, groups=[5, 5, 1, 1, 2, 2])
    assert ensemble[2:].groups.tolist() == [1, 1, 2, 2]
    assert set(ensemble.resample(20).groups.tolist()) <= {5, 1, 2}
    ensemble.save(tmp_path)
    assert Ensemble.load(tmp_path).groups.tolist() == ensemble.groups.tolist()
    assert ensemble.mean(np.arange(6)).error != make_ensemble(6).mean(np.arange(6)).error
    with pytest.raises(ShapeError, match=r"\(5,\)"):
        make_ensemble(6, groups=np.zeros(5, int))


@pytest.mark.parametrize("groups", [[0.2, 0.7, np.nan], [True, False, True], ["a", "b", "c"]])
def test_groups_that_are_not_whole_numbers_are_refused(groups):
    with pytest.raises(OptionError, match="groups of an integer dtype; got"):
        make_ensemble(3, groups=groups)


def test_other_log_weights_have_no_log_q():
    """It would vouch for their constant."""
    ensemble = make_ensemble(6, groups=[5, 5, 1, 1, 2, 2])
    other = ensemble.with_log_weights(np.log(ensemble.weights))
    assert other.log_q is None
    assert other.topology is ensemble.topology
    assert other.groups.tolist() == ensemble.groups.tolist()


def test_no_weights_mean_equal_weights():
    ensemble = make_ensemble(log_weights=None)
    assert ensemble.ess == pytest.approx(1.0)
    assert ensemble.mean(bond_lengths).value == pytest.approx(bond_lengths(ensemble.to_mdtraj()).mean())


def test_failed_frames_weigh_nothing_and_are_counted():
    whole = make_ensemble(n=100)
    energies, positions = whole.energies.copy(), whole.positions.copy()
    energies[:10], positions[:10] = np.inf, np.nan
    ensemble = make_ensemble(n=100, energies=energies, positions=positions)
    assert ensemble.failed == 10
    assert (ensemble.weights[:10] == 0).all()
    assert np.isfinite(ensemble.mean(bond_lengths)).all()
    assert (whole.log_weights[:10] > -np.inf).all()  # the caller's arrays are left alone


def test_tensors_are_taken():
    ensemble = Ensemble(torch.zeros(3, 2, 3, requires_grad=True), torch.zeros(3), 300.0, torch.zeros(3))
    assert ensemble.positions.dtype == np.float32
    assert ensemble.log_weights.dtype == np.float64


def test_weights_say_whether_they_are_absolute(tmp_path):
    """Those of log q are; equal ones are not, and others where it is said."""
    assert make_ensemble().absolute
    equal = make_ensemble(log_weights=None)
    assert not equal.absolute
    annealed = make_ensemble(20, log_q=None, absolute=True)
    for one in (annealed[:10], annealed.at(310.0)):
        assert one.absolute
    chosen = annealed[annealed.energies > annealed.energies.min()]
    for one in (chosen, make_ensemble(log_q=None), annealed.resample(20), annealed.with_log_weights(np.zeros(20))):
        assert not one.absolute
    for one in (annealed, equal, make_ensemble(log_q=None)):
        one.save(tmp_path, overwrite=True)
        assert Ensemble.load(tmp_path).absolute == one.absolute


RANDOM = np.random.default_rng(0)
SHUFFLED = RANDOM.permutation(400)
PARTS = {
    "all": (lambda e: e[:], True),
    "a beginning": (lambda e: e[:100], True),
    "every other": (lambda e: e[::2], True),
    "backwards": (lambda e: e[::-1], True),
    "the end of it": (lambda e: e[::-1][:50], True),
    "as a mask": (lambda e: e[e.energies < 1.0], False),
    "as a list of truth values": (lambda e: e[(e.energies < 1.0).tolist()], False),
    "as indices": (lambda e: e[np.flatnonzero(e.energies < 1.0)], False),
    "as a list of indices": (lambda e: e[np.flatnonzero(e.energies < 1.0).tolist()], False),
    "all but one": (lambda e: e[np.arange(399)], False),
    "one twice": (lambda e: e[np.append(np.arange(399), 0)], False),
    "in another order": (lambda e: e[SHUFFLED], True),
    "counted from the end": (lambda e: e[np.arange(-400, 0)], True),
    "sorted": (lambda e: e[np.argsort(e.energies)], True),
    "sorted by indices at once": (lambda e: e[np.argsort(e.energies)[:50]], False),
    "sorted and cut": (lambda e: e[np.argsort(e.energies)][:50], False),
    "sorted, heated and cut": (lambda e: e[np.argsort(e.energies)].at(310.0)[:50], False),
    "sorted and turned round": (lambda e: e[np.argsort(e.energies)][::-1], True),
    "thinned out": (decorrelated, True),
    "a part thinned out": (lambda e: decorrelated(e[e.energies < 1.0]), False),
    "drawn anew": (lambda e: e.resample(400), False),
    "heated": (lambda e: e.at(310.0), True),
    "other weights": (lambda e: e.with_log_weights(e.log_weights), False),
    "other groups": (lambda e: e.replace(groups=np.arange(400)), True),
    "another temperature": (lambda e: e.replace(temperature=310.0), False),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("log_q", [True, False], ids=["log q", "no log q"])
def test_weights_stay_absolute_where_their_mean_is_still_z(name, log_q, tmp_path):
    """Of 400 frames: 60 times over the mean of those that say so is Z, which that of a part chosen by energy is not."""
    choose, absolute = PARTS[name]
    z = []
    for seed in range(60):
        whole = make_ensemble(400, seed, absolute=True, **({} if log_q else {"log_q": None}))
        found = choose(whole)
        assert found.absolute == absolute
        if found.temperature != whole.temperature or not absolute:
            break
        z.append((found.log_z.value + np.log(1.4)) / found.log_z.error)  # E_q exp(−t²(1 − 1/s²)/2) = 1/s
    if len(z) == 60:
        check_z_scores(z)
    if not absolute:
        with pytest.raises(OptionError, match="up to a factor"):
            absolute_free_energy(found)
    found.save(tmp_path)
    again = Ensemble.load(tmp_path)
    assert (again.absolute, again[:20].absolute) == (absolute, found[:20].absolute)


def test_what_a_copy_keeps():
    """What is not named, but log q of other positions or weights."""
    whole = make_ensemble(6, groups=[5, 5, 1, 1, 2, 2])
    same = whole.replace()
    for name in ("positions", "energies", "log_weights", "log_q", "groups"):
        np.testing.assert_array_equal(getattr(same, name), getattr(whole, name))
    assert (same.topology, same.temperature, same.absolute) == (whole.topology, 300.0, True)
    for change in ({"positions": whole.positions}, {"log_weights": whole.log_weights}):
        assert whole.replace(**change).log_q is None
        assert whole.replace(**change, log_q=whole.log_q).log_q is not None
    assert whole.replace(groups=None).groups is None
    assert whole.replace(frames=[4, 0], energies=[1.0, 2.0]).groups.tolist() == [2, 5]


def test_copies_by_index_are_no_news():
    """They are groups, as those of `resample` are: the error of a mean stays what it was."""
    whole = make_ensemble(200)
    copies = whole[np.repeat(np.arange(200), 9)]
    assert copies.mean(bond_lengths).error == pytest.approx(whole.mean(bond_lengths).error, rel=1e-6)
    assert whole[np.arange(100)].groups is None
    assert make_ensemble(3, groups=[7, 7, 8])[[2, 2, 0]].groups.tolist() == [8, 8, 7]


WITHOUT_ENERGIES = {
    "`Ensemble.energies`": lambda e: e.energies,
    "`Ensemble.at`": lambda e: e.at(310.0),
    "`Ensemble.with_potential`": lambda e: e.with_potential(None),
    "`heat_capacity`": heat_capacity,
    "`temperature_series`": lambda e: temperature_series(e, [310.0]),
    "`decorrelated` without a series": decorrelated,
    "`diagnose` with equilibrium frames": lambda e: diagnose(
        e, equilibrium=e.replace(log_weights=None, log_q=e.log_weights)
    ),
}


@pytest.mark.parametrize("what", WITHOUT_ENERGIES)
def test_what_needs_energies_says_so(what):
    ensemble = make_ensemble(200, energies=None)
    with pytest.raises(OptionError, match=f"with energies, which {what} needs; this one has none"):
        WITHOUT_ENERGIES[what](ensemble)


def test_weights_of_a_trajectory_need_no_energies(tmp_path):
    whole = make_ensemble(200, groups=np.arange(200) // 4)
    trajectory = whole.to_mdtraj()
    found = Ensemble.from_mdtraj(trajectory, whole.log_weights, whole.groups, temperature=310.0)
    assert not found.has_energies
    assert (found.failed, found.temperature, found.absolute) == (0, 310.0, False)
    assert found.mean(bond_lengths) == whole.mean(bond_lengths)
    assert diagnose(found).verdict == diagnose(whole).verdict
    assert not found[::2].has_energies
    assert len(decorrelated(found[found.groups == 0], series=np.arange(4.0))) > 0
    found.save(tmp_path)
    again = Ensemble.load(tmp_path)
    assert not again.has_energies
    assert again.groups.tolist() == whole.groups.tolist()
    energies = np.where(np.arange(200) < 5, np.inf, 1.0)
    with_energies = Ensemble.from_mdtraj(trajectory, None, energies=energies)
    assert (with_energies.failed, with_energies.temperature) == (5, 300.0)
    with pytest.raises(ShapeError, match=r"\(199,\)"):
        Ensemble.from_mdtraj(trajectory, np.zeros(199))


def test_frames_that_another_hamiltonian_finds_take_the_constant():
    """A frame that failed has no weight where it is sound: so that without log q Z is not known any more."""
    energies = np.where(np.arange(20) == 3, np.inf, 1.0)
    for log_q, absolute in ((None, False), (np.zeros(20), True)):
        ensemble = make_ensemble(20, energies=energies, log_q=log_q, absolute=True)
        assert ensemble.at(310.0).absolute
        assert ensemble._reweighted(np.ones(20), 300.0).absolute == absolute


def test_save_and_load(tmp_path):
    ensemble = make_ensemble(n=50)
    ensemble.save(tmp_path / "run")
    again = Ensemble.load(tmp_path / "run")
    np.testing.assert_allclose(again.positions, ensemble.positions, atol=1e-7)
    np.testing.assert_array_equal(again.log_weights, ensemble.log_weights)
    np.testing.assert_array_equal(again.energies, ensemble.energies)
    np.testing.assert_array_equal(again.log_q, ensemble.log_q)
    assert again.temperature == 300.0
    assert again.topology == ensemble.topology


def test_files_are_those_of_mdtraj(tmp_path):
    make_ensemble(n=5).save(tmp_path)
    assert mdtraj.load(str(tmp_path / "samples.dcd"), top=str(tmp_path / "topology.pdb")).n_frames == 5


# mdtraj leaves a damaged PDB file open.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["samples.dcd", "topology.pdb", "weights.npz"])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    make_ensemble(n=5).save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"" if name == "topology.pdb" else whole[:40])
    with pytest.raises(FileFormatError, match="samples in"):
        Ensemble.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SystemNotFoundError, match=name):
        Ensemble.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"energies": np.zeros(3)}, ShapeError, "n energies"),
        ({"log_weights": np.zeros(7)}, ShapeError, "log-weights"),
        ({"positions": np.zeros((4000, 3, 3))}, ShapeError, "Expected 2 atoms"),
        ({"energies": np.full(4000, np.nan)}, NonFiniteError, "got NaN"),
        ({"log_weights": np.full(4000, np.inf)}, NonFiniteError, "log-weights"),
        ({"temperature": -1.0}, OptionError, "positive temperature"),
    ],
)
def test_impossible_input_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        make_ensemble(**changes)


def test_a_trajectory_needs_a_topology():
    with pytest.raises(DataError, match="this one has none"):
        make_ensemble(topology=None).to_mdtraj()
