"""Parallel tempering on a double well whose populations are known, and what keeps a run whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from boltzflow.errors import FileFormatError, NonFiniteError, OptionError, RunDirectoryError, ShapeError
from boltzflow.simulation import Langevin, ParallelTempering, Particles, Progress, TemperingOptions, TemperingResult
from boltzflow.simulation.exchange import exchange, turned
from boltzflow.simulation.frames import Frames
from boltzflow.units import GAS_CONSTANT

from .conftest import DoubleWell

KELVINS = [300.0, 500.0, 900.0]
WELL = DoubleWell()
SHORT = TemperingOptions(picoseconds=0.8, equilibration=0.4, swap_every=0.1, record_every=0.2, seed=3)


def sampler(ladders: int = 4, **options: object) -> ParallelTempering:
    dynamics = Langevin(DoubleWell(), Particles([20.0]), friction=5.0, timestep=0.005, compile=False)
    return ParallelTempering(dynamics, KELVINS, ladders, **options)  # type: ignore[arg-type]


def start() -> Tensor:
    return torch.tensor([[0.15, 0.0, 0.0]])


def tilt(positions: Tensor) -> Tensor:
    """A bias of 40 kJ/(mol nm) along x."""
    return 40.0 * positions[:, 0, 0]


# -- the right distribution ------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [None, tilt])
def test_populations_of_a_double_well(bias: object) -> None:
    """32 ladders, 40 ps, begun in the less likely well: every temperature's population, and the mean energy."""
    options = TemperingOptions(picoseconds=40.0, equilibration=15.0, swap_every=0.25, record_every=0.5, seed=1)
    result = sampler(32, bias=bias).run(start(), options)
    left = np.concatenate([result.positions(t)[:, None, :, 0, 0] for t in KELVINS], 1) < 0
    pooled = result.mean(left, KELVINS)
    exact = np.array([WELL.share_left(t) for t in KELVINS])
    assert (np.abs(pooled.value - exact) / pooled.error < 4.5).all()
    assert (pooled.error < 0.05).all()  # the barrier is 8 kT at 300 K: without swaps nothing would cross it
    ensemble = result.ensemble(300.0)
    own = ensemble.mean(left[:, 0].flatten()).value
    assert own == pytest.approx(exact[0], abs=0.1)
    between = result.mean(left, 600.0)
    assert abs(between.value - WELL.share_left(600.0)) / between.error < 4.5
    assert result.round_trips > 50
    assert all(0.2 < share < 0.9 for share in result.acceptance)


def test_swaps_keep_the_joint_distribution() -> None:
    """Exponential energies at two temperatures, swapped: means stay 1/β (n = 20 000), and the acceptance is exact."""
    random = torch.Generator().manual_seed(0)
    beta = torch.tensor([1.0, 0.5], dtype=torch.float64)
    energies = torch.empty(2, 20_000, dtype=torch.float64).exponential_(generator=random) / beta[:, None]
    source, swapped = exchange(energies, beta, 0, random)
    after = energies.gather(0, source)
    for row, expected in zip(after, (1.0, 2.0), strict=True):
        assert abs(float(row.mean()) - expected) / (expected / math.sqrt(20_000)) < 4.5
    # E[min(1, exp(Δβ(U₀ − U₁)))] = P(U₀ > U₁) + E[exp(½(U₀ − U₁)); U₀ < U₁] = 1/3 + 1/3
    assert abs(float(swapped.double().mean()) - 2 / 3) / math.sqrt(2 / 9 / 20_000) < 4.5


def test_swaps_are_between_neighbours_only() -> None:
    random = torch.Generator().manual_seed(0)
    rising = torch.tensor([5.0, 4.0, 3.0, 2.0])[:, None]  # each swap gains
    beta = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert exchange(rising, beta, 0, random)[0].flatten().tolist() == [1, 0, 3, 2]
    assert exchange(rising, beta, 1, random)[0].flatten().tolist() == [0, 2, 1, 3]
    rising[1] = math.nan
    assert exchange(rising, beta, 0, random)[0].flatten().tolist() == [0, 1, 3, 2]


def test_round_trips_are_counted_from_the_cold_end() -> None:
    heading, ended = torch.zeros(3, 1, dtype=torch.long), 0
    for source in ([0, 1, 2], [1, 0, 2], [0, 2, 1], [0, 2, 1], [1, 0, 2]):  # replica 0 goes up, and comes back
        heading, more = turned(heading.gather(0, torch.tensor(source)[:, None]))
        ended += int(more)
    assert ended == 1


# -- a run is one run, however it is cut -----------------------------------------------------------


def same(one: TemperingResult, other: TemperingResult) -> bool:
    parts = ("energies", "bias", "positions")
    equal = all(torch.equal(one.frames.read(p), other.frames.read(p)) for p in parts)
    return equal and (one.acceptance, one.round_trips) == (other.acceptance, other.round_trips)


def test_same_seed_same_numbers() -> None:
    first, second = (sampler().run(start(), SHORT) for _ in range(2))
    assert same(first, second)
    other = sampler().run(start(), TemperingOptions(**{**vars(SHORT), "seed": 4}))
    assert not same(first, other)
    assert first.energies.shape == (4, 3, 4)


def interrupted_after(evaluations: int) -> ParallelTempering:
    """A sampler that is interrupted as if by Ctrl-C."""
    broken = sampler()
    potential = broken.dynamics.potential
    evaluate, left = potential._energy_and_forces, evaluations

    def interrupted(positions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return evaluate(positions)

    potential._energy_and_forces = interrupted  # type: ignore[method-assign]
    return broken


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Interrupted in equilibration and in the recorded part, in the middle of dynamics; then prolonged."""
    whole = sampler().run(start(), SHORT)
    for evaluations in (40, 170):
        directory = tmp_path / str(evaluations)
        with pytest.raises(KeyboardInterrupt):
            interrupted_after(evaluations).run(start(), SHORT, directory=directory)
        assert same(whole, sampler().run(start(), SHORT, directory=directory, resume=True))
    first = TemperingOptions(**{**vars(SHORT), "picoseconds": 0.3})
    sampler().run(start(), first, directory=tmp_path / "short")
    assert same(whole, sampler().run(start(), SHORT, directory=tmp_path / "short", resume=True))


def test_a_directory_is_not_overwritten_nor_mixed(tmp_path: Path) -> None:
    sampler().run(start(), SHORT, directory=tmp_path)
    with pytest.raises(RunDirectoryError, match="already contains a run"):
        sampler().run(start(), SHORT, directory=tmp_path)
    with pytest.raises(FileFormatError, match=r"other settings \(ladders\)"):
        sampler(5).run(start(), SHORT, directory=tmp_path, resume=True)
    checkpoint = tmp_path / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(FileFormatError, match="damaged"):
        sampler().run(start(), SHORT, directory=tmp_path, resume=True)


def test_chunks_on_disk_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boltzflow.simulation.frames._CHUNK", 1)
    result = sampler(keep=[1]).run(start(), SHORT, directory=tmp_path)
    assert len(list((tmp_path / "frames").iterdir())) == 4
    in_memory = sampler(keep=[1]).run(start(), SHORT)
    assert same(result, in_memory)
    assert result.positions(500.0).shape == (4, 4, 1, 3)
    (tmp_path / "frames" / "000002.safetensors").unlink()
    with pytest.raises(FileFormatError, match="000002"):
        result.frames.read("energies")


# -- what a result holds ---------------------------------------------------------------------------


def test_observables_parts_and_progress() -> None:
    told: list[Progress] = []
    result = sampler(observables=lambda x: x[:, 0, :2]).run(start(), SHORT, progress=told.append)
    assert result.observables.shape == (4, 3, 4, 2)
    positions = result.positions(900.0)
    np.testing.assert_array_equal(result.observables[:, 2], positions[:, :, 0, :2])
    half = result.during(slice(2))
    np.testing.assert_array_equal(half.energies, result.energies[:2])
    assert half.average(lambda w: w.sum(), 300.0).item() == pytest.approx(1.0)
    assert len(told) == 12
    assert told[-1].picoseconds == pytest.approx(told[-1].total) == pytest.approx(1.2)
    assert told[-1].replicas == 12


def test_ladders_with_an_exploded_replica_are_left_out() -> None:
    run = sampler()
    well = run.dynamics.potential
    evaluate = well._energy_and_forces

    def exploding(positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = evaluate(positions)
        energy[6] = math.inf  # temperature 1 of ladder 2
        return energy, forces

    well._energy_and_forces = exploding  # type: ignore[method-assign]
    result = run.run(start(), SHORT)
    assert result.lost.tolist() == [False, False, True, False]
    assert result.energies.shape == (4, 3, 3)
    assert np.isfinite(result.energies).all()
    assert result.positions(300.0).shape == (4, 3, 1, 3)
    with pytest.raises(NonFiniteError, match="All 4 ladders have become unstable"):
        TemperingResult((300.0, 400.0), Frames(), torch.ones(4, dtype=torch.bool), (), (0.5,), 0)


def test_refusals() -> None:
    with pytest.raises(OptionError, match="two or more ascending temperatures"):
        ParallelTempering(sampler().dynamics, [400.0, 300.0], 2)
    with pytest.raises(OptionError, match="indices of 3 temperatures to keep"):
        sampler(keep=[3])
    with pytest.raises(OptionError, match="record no more often than to swap"):
        TemperingOptions(record_every=0.01)
    with pytest.raises(OptionError, match="positive times"):
        TemperingOptions(picoseconds=0.0)
    with pytest.raises(ShapeError, match=r"\(1, 3\) or \(12, 1, 3\) in nm; got \(2, 3\)"):
        sampler().run(torch.zeros(2, 3))
    result = sampler(keep=[0]).run(start(), SHORT)
    with pytest.raises(OptionError, match="one of the temperatures 300, 500, 900 K; got 350 K"):
        result.ensemble(350.0)
    with pytest.raises(OptionError, match=r"recorded positions \(300 K\); got 500 K"):
        result.ensemble(500.0)
    with pytest.raises(ShapeError, match=r"Expected values \(4, 3, 4\); got \(4, 3\)"):
        result.mean(np.zeros((4, 3)), 300.0)
    with pytest.raises(OptionError, match="got energies, bias, positions"):
        _ = result.observables
    with pytest.raises(OptionError, match="at least 2 ladders"):
        sampler(1).run(start(), SHORT).mean(np.zeros((4, 3, 1)), 300.0)
    with pytest.raises(OptionError, match="frames; got none"):
        Frames().read("energies")


def test_free_energies_are_those_of_pymbar_and_exact() -> None:
    """Harmonic oscillators at three temperatures: f = ½ ln β up to a constant; errors by jackknife, n = 64 × 50."""
    random = torch.Generator().manual_seed(2)
    beta = 1 / (GAS_CONSTANT * torch.tensor(KELVINS, dtype=torch.float64))
    x = torch.randn(50, 3, 64, generator=random, dtype=torch.float64) / beta[:, None].sqrt()
    record = {"energies": 0.5 * x.square(), "bias": torch.zeros_like(x)}
    result = TemperingResult(tuple(KELVINS), Frames(chunks=(record,)), torch.zeros(64, dtype=torch.bool), (), (), 0)
    found = torch.stack([result._free_energies(left_out) for left_out in (None, *range(64))]).numpy()
    exact = 0.5 * np.log(beta.numpy() / beta[0].item())
    error = np.sqrt(63 * found[1:].var(0))
    assert (np.abs(found[0] - exact)[1:] / error[1:] < 4.5).all()
    mean = result.mean(result.energies, 400.0)
    assert abs(mean.value - 0.5 * GAS_CONSTANT * 400.0) / mean.error < 4.5
    assert mean.error < 0.05
