"""The map between two generators: it conserves probability, and the free energies that it gives are exact."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import LatentMap, targeted_differences
from boltzflow.errors import OptionError
from boltzflow.verdict import Trust
from tests.analysis.exact import chain, chain_moments, equilibrium
from tests.scores import check_z_scores

CHANGED = {"length": 0.16, "barrier": 9.0, "tilt": 1.0}
OPTIONS = {"layers": 1, "hidden": (8,), "bins": 4, "start": "bonded"}


@pytest.fixture(scope="module")
def pair() -> tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator]:
    """Of two force fields, at 300 K and 330 K: bonds a hundredth of a nm apart are four standard deviations of each."""
    first, second = chain(), chain(**CHANGED, kelvin=330.0)
    return tuple(bf.BoltzmannGenerator.for_system(system, **OPTIONS) for system in (first, second))


@pytest.mark.parametrize("given", ["samples", "frames", "both"])
def test_differences_are_exact_where_nothing_overlaps(
    pair: tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator], given: str
) -> None:
    """20 repeats of 500 samples of the first flow, of 300 frames of either target, and of all three."""
    first, second = pair
    exact = chain_moments(300.0)[0] - chain_moments(330.0, **CHANGED)[0]
    drawn = first.sample(20 * 500, seed=1)
    here, there = (equilibrium(generator, 8000, seed=k) for k, generator in enumerate(pair))
    scores = []
    for i in range(20):
        part = slice(300 * i, 300 * (i + 1))
        samples = drawn[500 * i : 500 * (i + 1)] if given != "frames" else None
        frames = {"first_frames": here[part], "second_frames": there[part]} if given != "samples" else {}
        found = targeted_differences(first, second, samples=samples, **frames, names=("old", "new"))
        value, error = found.between("old", "new")
        scores.append((value - exact) / error)
        assert error < 0.05
        assert found.verdict.trust is not Trust.DO_NOT_USE
    assert found.temperatures.tolist()[-2:] == [300.0, 330.0]
    assert (found.names[0] == "latent") == (given != "frames")
    check_z_scores(scores)


def test_there_and_back_is_where_it_was(pair: tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator]) -> None:
    first, second = pair
    frames = equilibrium(first, 200, seed=5).positions
    there = LatentMap(first, second)(frames)
    back = LatentMap(second, first)(there.positions)
    np.testing.assert_allclose(back.log_jacobian, -there.log_jacobian, atol=5e-3)
    distances = [np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (frames, back.positions)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    bonds = [np.linalg.norm(np.diff(x, axis=1), axis=-1).mean() for x in (frames, there.positions)]
    assert bonds == pytest.approx([0.15, 0.16], abs=2e-3)


def first_ring_torsion(system: bf.MolecularSystem, positions: np.ndarray) -> np.ndarray:
    carbons = system.mdtraj_topology.select("element C")[:4]
    return mdtraj.compute_dihedrals(mdtraj.Trajectory(positions, system.mdtraj_topology), [carbons])[:, 0]


def test_each_pucker_of_a_ring_is_mapped_to_itself() -> None:
    """The bases are mixtures of puckers, whose tables differ between the temperatures."""
    systems = (bf.load_system("cyclohexane", temperature=kelvin) for kelvin in (300.0, 330.0))
    first, second = (bf.BoltzmannGenerator.for_system(system, **OPTIONS) for system in systems)
    frames = first.sample(1000, seed=1).positions
    there = LatentMap(first, second)(frames)
    back = LatentMap(second, first)(there.positions)
    np.testing.assert_allclose(back.log_jacobian, -there.log_jacobian, atol=0.05)  # float32 at kinks of tables
    distances = [np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (frames, back.positions)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    before, after = (first_ring_torsion(first.system, x) for x in (frames, there.positions))
    assert 0.4 < (before > 0).mean() < 0.6
    np.testing.assert_array_equal(before > 0, after > 0)


def test_a_frame_outside_the_domain_has_no_image(pair: tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator]) -> None:
    first, second = pair
    frames = np.array(equilibrium(first, 200, seed=5).positions)
    frames[0, 3] += 1.0
    assert np.isneginf(LatentMap(first, second)(frames).log_jacobian).tolist() == [True] + [False] * (len(frames) - 1)


def test_generators_that_do_not_correspond_are_refused(
    pair: tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator],
) -> None:
    first, second = pair
    with pytest.raises(OptionError, match="the same layout of coordinates"):
        LatentMap(first, bf.BoltzmannGenerator.for_system(bf.load_system("butane"), **OPTIONS))
    plain = {**OPTIONS, "start": "plain"}
    one, other = (bf.BoltzmannGenerator.for_system(system, **plain) for system in (chain(), chain(length=0.16)))
    with pytest.raises(OptionError, match="Expected tabulated bases"):
        LatentMap(one, other)
    LatentMap(one, bf.BoltzmannGenerator.for_system(chain(barrier=9.0), **plain))  # one base
    with pytest.raises(OptionError, match="Expected samples or frames"):
        targeted_differences(first, second)


def test_samples_and_frames_are_what_they_are_said_to_be(
    pair: tuple[bf.BoltzmannGenerator, bf.BoltzmannGenerator],
) -> None:
    first, second = pair
    drawn, there = first.sample(100, seed=1), equilibrium(second, 200, seed=2)
    with pytest.raises(OptionError, match="equally weighted samples of 'first'; got weighted samples"):
        targeted_differences(first, second, samples=drawn, first_frames=drawn)
    with pytest.raises(OptionError, match="'first' at 300 K; got an ensemble at 330 K"):
        targeted_differences(first, second, first_frames=there)
    with pytest.raises(OptionError, match="'second' at 330 K; got an ensemble at 300 K"):
        targeted_differences(first, second, second_frames=drawn.resample(20))
    with pytest.raises(OptionError, match="Expected samples of 'latent' with their log q"):
        targeted_differences(first, second, samples=drawn.accept())
    with pytest.raises(OptionError, match="they are from another generator"):
        targeted_differences(first, second, samples=second.sample(100, seed=1))
    copies = there[np.arange(20) // 2].unweighted(np.arange(20), np.arange(20) // 2)
    with pytest.raises(OptionError, match=r"independent samples of 'second'.*20 frames in 10 groups"):
        targeted_differences(first, second, samples=drawn, second_frames=copies)
