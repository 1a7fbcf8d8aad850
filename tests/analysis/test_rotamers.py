"""States of torsions whose density is known, their populations, and which torsions depend on one another."""

from __future__ import annotations

import itertools
import math

import mdtraj
import numpy as np
import pytest
from scipy.special import i0, i0e, i1e

import boltzflow as bf
from boltzflow.analysis import Trust, couplings, rotamers
from boltzflow.analysis.estimates import torsion_states
from boltzflow.analysis.estimates.rotamers import rotamers_of
from boltzflow.arrays import Array
from boltzflow.errors import DataError, ShapeError
from boltzflow.molecules import NamedTorsion, rotatable_torsions
from tests.analysis.weighted import equal, weighted

OTHER = NamedTorsion("torsion A B C D", (0, 1, 2, 3))
FOLDED = NamedTorsion("chi2 PHE2", (0, 1, 2, 3), folds=2)
STAGGERED = NamedTorsion("chi1 VAL2", (0, 1, 2, 3), staggered=True)
GRID = np.linspace(-math.pi, math.pi, 100_000, endpoint=False)


def mixture(x: Array, peaks: list[float], shares: list[float], kappa: float = 12.0) -> Array:
    """The density of von Mises peaks (degrees), normalised over the circle."""
    parts = (
        share * np.exp(kappa * np.cos(x - math.radians(peak))) / (2 * math.pi * i0(kappa))
        for peak, share in zip(peaks, shares, strict=True)
    )
    return np.sum(list(parts), 0)


def drawn(peaks: list[float], shares: list[float], n: int, seed: int, kappa: float = 12.0) -> tuple[Array, Array]:
    """Angles from equal peaks, and the log-weights that turn them into the mixture."""
    random = np.random.default_rng(seed)
    even = [1 / len(peaks)] * len(peaks)
    angles = random.vonmises(np.radians(random.choice(peaks, n)), kappa)
    return angles, np.log(mixture(angles, peaks, shares, kappa) / mixture(angles, peaks, even, kappa))


@pytest.mark.parametrize(
    ("torsion", "peaks", "shares", "names"),
    [
        (OTHER, [-80.0, 150.0], [0.3, 0.7], ("-80°", "150°")),
        (OTHER, [-170.0, 0.0, 90.0], [0.5, 0.2, 0.3], ("0°", "90°", "-170°")),
        (OTHER, [180.0], [1.0], ("180°",)),
        (FOLDED, [90.0, -90.0], [0.5, 0.5], ("±90°",)),
        (FOLDED, [80.0, -100.0, 0.0, 180.0], [0.35, 0.35, 0.15, 0.15], ("0°/180°", "-100°/80°")),
        (STAGGERED, [-60.0, 70.0, 180.0], [0.2, 0.1, 0.7], ("gauche-", "gauche+", "trans")),
    ],
)
def test_populations_of_a_known_density(torsion, peaks, shares, names) -> None:
    """Against quadrature between the arcs that were found; z of 20 ensembles of 4000 weighted angles."""
    scores = []
    for seed in range(20):
        angles, log_weights = drawn(peaks, shares, 4000, seed)
        found = rotamers_of(weighted(log_weights), torsion, angles)
        assert sorted(found.arcs.names) == sorted(names)
        populations = found.states.populations
        assert sum(population.value for population in populations.values()) == pytest.approx(1.0, abs=1e-12)
        labels, density = found.arcs.labels(GRID), mixture(GRID, peaks, shares)
        for state, name in enumerate(found.arcs.names):
            exact = density[labels == state].sum() * 2 * math.pi / len(GRID)
            if len(names) > 1:
                scores.append((populations[name].value - exact) / populations[name].error)
                assert populations[name].verdict.trust is Trust.TRUST
            else:
                assert exact == pytest.approx(1.0)
    if scores:
        z = np.array(scores)
        assert np.abs(z).max() < 4.5
        assert 0.75 < np.sqrt(np.mean(z**2)) < 1.3  # errors of 40 to 80 scores


def test_arcs_end_at_minima() -> None:
    """Between two von Mises peaks of the same width and height the minima are in their middle."""
    angles, log_weights = drawn([-80.0, 140.0], [0.5, 0.5], 200_000, 0)
    found = torsion_states(OTHER, angles, np.exp(log_weights))
    assert found.names == ("-80°", "140°")
    np.testing.assert_allclose(np.degrees(found.lows), [-150.0, 30.0], atol=10.0)
    assert found.ends(1) == (found.lows[1], found.lows[0] + 2 * math.pi)


def test_every_angle_has_one_state() -> None:
    """Also at the ends of arcs and of the circle, and whatever turn it is measured in."""
    states = torsion_states(STAGGERED, GRID, np.ones_like(GRID))
    edges = np.radians([-180.0, -120.0, 0.0, 120.0, 180.0])
    assert states.labels(edges).tolist() == [2, 0, 1, 2, 2]
    assert states.labels(edges - 1e-9).tolist() == [2, 2, 0, 1, 2]
    np.testing.assert_array_equal(states.labels(GRID), states.labels(GRID + 4 * math.pi))
    folded = torsion_states(FOLDED, np.array([0.1] * 50 + [1.5] * 50), np.ones(100))
    np.testing.assert_array_equal(folded.labels(GRID), folded.labels(GRID + math.pi))
    assert len(folded.names) == 2


def test_few_frames_and_ripples_make_no_state() -> None:
    angles = np.concatenate([np.random.default_rng(0).vonmises(0.0, 8.0, 5000), np.full(10, 3.0)])
    assert torsion_states(OTHER, angles, np.ones(5010)).names == ("0°",)
    more = np.concatenate([angles, np.full(30, 3.0)])
    assert len(torsion_states(OTHER, more, np.ones(5040)).names) == 2
    heavy = np.concatenate([np.ones(5010), [1.0] * 29, [4e3]])  # one frame has nearly all its weight
    assert len(torsion_states(OTHER, more, heavy).names) == 1
    flat = np.random.default_rng(1).uniform(-math.pi, math.pi, 20_000)
    assert len(torsion_states(OTHER, flat, np.ones(20_000)).names) == 1


def test_states_turn_with_the_circle() -> None:
    """A shift of all angles shifts the arcs; the order of the frames does not matter."""
    angles, log_weights = drawn([-80.0, 20.0, 150.0], [0.3, 0.3, 0.4], 5000, 3)
    weights = np.exp(log_weights)
    known = torsion_states(OTHER, angles, weights)
    order = np.random.default_rng(0).permutation(5000)
    assert torsion_states(OTHER, angles[order], weights[order]).names == known.names
    for turn in (40, 123, 200):
        moved = torsion_states(OTHER, angles + math.radians(turn), weights)
        before = np.sort(np.mod(np.degrees(known.lows) + turn, 360))
        np.testing.assert_allclose(np.sort(np.mod(np.degrees(moved.lows), 360)), before, atol=1e-6)


def test_conventions_of_a_peptide() -> None:
    system = bf.load_system("alanine_dipeptide")
    names = [states.arcs.names for states in rotamers(frames_of(system))]
    assert names == [("cis", "trans"), ("positive", "negative"), names[2], ("cis", "trans")]
    low, high = rotamers(frames_of(system))[1].arcs.ends(0)
    assert (low, high) == (0.0, 2.2)


def frames_of(system: bf.MolecularSystem, n: int = 60) -> bf.Ensemble:
    positions = system.positions + np.random.default_rng(0).normal(scale=2e-3, size=(n, system.n_atoms, 3))
    return bf.Ensemble(positions, None, 300.0, topology=system.mdtraj_topology)


def test_a_state_without_frames_is_not_called_empty() -> None:
    """Its verdict says how large a population would not have been detected."""
    (found,) = rotamers(frames_of(bf.load_system("butane"), 1000))
    assert not found.has_several
    missing = found.states.populations["gauche+"]
    assert (missing.value, missing.frames, missing.verdict.trust) == (0.0, 0, Trust.DO_NOT_USE)
    assert "would not be detected" in missing.verdict.reason


def test_verdicts_are_the_worse_of_two() -> None:
    """Of the weights of all frames, and of the frames on both sides."""
    random = np.random.default_rng(0)
    angles = random.vonmises(np.radians(random.choice([-60.0, 60.0, 180.0], 20_000)), 12.0)
    good = rotamers_of(equal(20_000), STAGGERED, angles)
    assert {p.verdict.trust for p in good.states.populations.values()} == {Trust.TRUST}
    heavy = rotamers_of(weighted(-1.5 * np.log(random.uniform(size=20_000))), STAGGERED, angles)
    assert {p.verdict.trust for p in heavy.states.populations.values()} == {Trust.DO_NOT_USE}
    rare = np.where(np.arange(20_000) < 8, 1.0, -1.0)
    few = rotamers_of(equal(20_000), STAGGERED, rare).states.populations
    assert few["gauche+"].verdict.trust is Trust.WITH_CARE


def test_groups_enlarge_the_errors() -> None:
    """A ladder that stays in one state: 40 independent values, not 4000."""
    which = np.repeat(np.random.default_rng(0).choice([-1.0, 1.0], 40), 100)
    alone = rotamers_of(equal(4000), STAGGERED, which).states.populations["gauche+"].error
    grouped = rotamers_of(equal(4000, np.arange(4000) // 100), STAGGERED, which).states.populations["gauche+"].error
    assert grouped == pytest.approx(10 * alone, rel=0.05)


def test_mutual_information_of_a_known_pair() -> None:
    """y = x + von Mises noise on a uniform circle: log 2π − h(noise), by quadrature over the bins; 20 ensembles."""
    kappa, n = 4.0, 20_000
    exact = math.log(2 * math.pi) - (math.log(2 * math.pi * i0e(kappa)) + kappa - kappa * i1e(kappa) / i0e(kappa))
    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        x, z = random.uniform(-math.pi, math.pi, size=(2, n))
        y = x + random.vonmises(0.0, kappa, n)
        logs = random.normal(scale=0.5, size=n)  # weights that tell nothing about the torsions
        angles = np.stack([np.angle(np.exp(1j * a)) for a in (x, z, y)], 1)
        (coupling,) = couplings(weighted(logs), angles)
        assert coupling.pair == (0, 2)
        found.append((coupling.information, coupling.information + coupling.floor))
    binned = information_of_bins(kappa)
    low, high = np.mean(found, 0)
    error = np.std(found, 0).max() / math.sqrt(19)
    # Torsions that depend on one another fill fewer cells than independent ones: the floor takes too much away.
    assert low - 4 * error < binned < high + 4 * error
    assert high - low < 0.02
    assert binned < exact < binned + 0.05


def information_of_bins(kappa: float, bins: int = 24, inside: int = 40) -> float:
    """Of the histogram of x and x + noise, exact up to quadrature within bins."""
    points = (np.arange(bins * inside) + 0.5) * 2 * math.pi / (bins * inside)
    density = np.exp(kappa * np.cos(points[:, None] - points)) / (2 * math.pi * i0(kappa))
    joint = density.reshape(bins, inside, bins, inside).sum((1, 3))
    joint /= joint.sum()
    return float((joint * np.log(joint * bins**2)).sum())


def test_weights_count_in_couplings() -> None:
    """Independent as drawn, coupled by their weights; and coupled as drawn, independent by their weights."""
    random = np.random.default_rng(0)
    x = random.uniform(-math.pi, math.pi, size=(20_000, 2))
    (coupling,) = couplings(weighted(np.cos(x[:, 0] - x[:, 1])), x)
    assert coupling.information == pytest.approx(information_of_bins(1.0), abs=0.02)
    y = np.stack([x[:, 0], np.angle(np.exp(1j * (x[:, 0] + random.vonmises(0.0, 1.0, 20_000))))], 1)
    assert couplings(equal(20_000), y)
    assert not couplings(weighted(-np.cos(y[:, 0] - y[:, 1])), y)


def test_independent_torsions_have_no_couplings() -> None:
    """Among 300 pairs, with weights of an effective sample size of 40 %."""
    random = np.random.default_rng(5)
    angles = random.vonmises(0.0, random.uniform(0.0, 4.0, 25), size=(10_000, 25))
    assert couplings(weighted(random.normal(scale=0.95, size=10_000)), angles) == []


def test_strongest_couplings_come_first() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-math.pi, math.pi, 20_000)
    columns = [x, *(np.angle(np.exp(1j * (x + random.vonmises(0.0, kappa, 20_000)))) for kappa in (1.0, 16.0, 4.0))]
    found = couplings(equal(20_000), np.stack(columns, 1), most=4)
    assert found[0].pair == (0, 2)
    assert [c.information for c in found] == sorted((c.information for c in found), reverse=True)
    assert len(found) == 4
    left = couplings(equal(20_000), np.stack(columns, 1), most=4, without=[(0, 2)])
    assert {c.pair for c in left} <= set(itertools.combinations(range(4), 2)) - {(0, 2)}


def test_impossible_input_is_refused() -> None:
    with pytest.raises(DataError, match="topology"):
        rotamers(equal(10))
    with pytest.raises(ShapeError, match="one row for each frame"):
        couplings(equal(10), np.zeros(10))


def test_torsions_may_be_chosen() -> None:
    system = bf.load_system("alanine_dipeptide")
    psi = [torsion for torsion in rotatable_torsions(system) if torsion.kind == "psi"]
    (found,) = rotamers(frames_of(system), psi)
    assert found.torsion.name == "psi ALA2"
    frames = mdtraj.Trajectory(system.positions[None], system.mdtraj_topology)
    angle = math.degrees(mdtraj.compute_psi(frames)[1].item())
    assert abs(float(found.arcs.names[0].rstrip("°")) - angle) < 20
