"""The training loop: resuming, bad steps, checkpoints, schedules."""

import csv
import os
import pkgutil
import signal
from itertools import pairwise

import pytest
import torch

import boltzflow as bf
import boltzflow.testing
from boltzflow.core.objectives import Loss
from boltzflow.errors import FileFormatError, NonFiniteError, OptionError, RunDirectoryError
from boltzflow.training import Annealing, Method, ReverseKL, WarmupCosine

OPTIONS = {"batch_size": 16, "log_every": 1, "compile": False, "progress": False, "warmup": 2}
OPTIONS |= {"optimizer": "adam", "precision": "float32"}


@pytest.fixture
def generator():
    return bf.BoltzmannGenerator.for_system(
        bf.load_system("alanine_dipeptide"), layers=2, hidden=(16,), bins=4, start="plain"
    )


class Broken(Method):
    """A loss that is NaN in chosen steps."""

    def __init__(self, bad):
        self.bad = bad

    def temperature(self, generator, info):
        return generator.temperature

    def loss(self, generator, info, memory):
        loss = ReverseKL().loss(generator, info, memory)
        return Loss(loss.value * float("nan"), loss.log_weights) if info.step in self.bad else loss

    def evaluations(self, steps, batch_size):
        return steps * batch_size


@pytest.mark.parametrize("where", ["loss", "optimizer", "record", "checkpoint"])
def test_interrupted_and_resumed_is_as_uninterrupted(generator, tmp_path, monkeypatch, where) -> None:
    """Ctrl-C in the fifth step, wherever it strikes."""
    other, fresh = (
        bf.BoltzmannGenerator.for_system(generator.system, layers=2, hidden=(16,), bins=4, start="plain")
        for _ in range(2)
    )
    whole = bf.train(generator, steps=9, directory=tmp_path / "whole", **OPTIONS)
    target = {
        "loss": "boltzflow.training.methods.reverse_kl.reverse_kl",
        "optimizer": "torch.optim.Adam.step",
        "record": "boltzflow.training.distributed.effective_sample_size",
        "checkpoint": "boltzflow.training.trainer.History.write_csv",
    }[where]
    original, calls = pkgutil.resolve_name(target), []

    def interrupted(*arguments, **options):
        calls.append(where)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, interrupted)
        with pytest.raises(KeyboardInterrupt):
            bf.train(other, steps=9, directory=tmp_path / "cut", **OPTIONS)
    resumed = bf.train(fresh, steps=9, directory=tmp_path / "cut", resume=True, **OPTIONS)

    for name, tensor in fresh.flow.state_dict().items():
        assert torch.equal(tensor, generator.flow.state_dict()[name]), name
    for one, two in zip(whole.records, resumed.records, strict=True):
        assert (one.step, one.loss, one.ess, one.energy_evaluations) == (
            two.step,
            two.loss,
            two.ess,
            two.energy_evaluations,
        )
    with (tmp_path / "cut" / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 10))


def test_same_seed_same_numbers(generator) -> None:
    start = {k: v.clone() for k, v in generator.flow.state_dict().items()}
    losses = []
    for seed in (0, 0, 1):
        generator.flow.load_state_dict(start)
        losses.append([r.loss for r in bf.train(generator, steps=3, seed=seed, **OPTIONS).records])
    assert losses[0] == losses[1] != losses[2]


def test_training_lowers_the_loss(generator) -> None:
    history = bf.train(
        generator, ReverseKL(hot_share=0.0, cooling_share=0.0), steps=60, **{**OPTIONS, "batch_size": 64}
    )
    losses = [r.loss for r in history.records]
    assert sum(losses[-10:]) < sum(losses[:10]) - 100.0
    assert history.last.energy_evaluations == 60 * 64
    assert history.last.temperature_K == 300.0


def test_non_finite_steps_are_skipped_and_counted(generator) -> None:
    history = bf.train(generator, Broken([1, 3]), steps=5, **OPTIONS)
    assert history.last.skipped_steps == 2
    assert all(p.isfinite().all() for p in generator.flow.parameters())


def test_many_non_finite_steps_in_a_row_are_an_error(generator, tmp_path) -> None:
    with pytest.raises(NonFiniteError, match="loss or gradient was not finite in 4 consecutive steps"):
        bf.train(generator, Broken(list(range(2, 99))), steps=50, max_skipped=4, directory=tmp_path, **OPTIONS)
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()


def test_a_directory_with_a_training_is_not_overwritten(generator, tmp_path) -> None:
    bf.train(generator, steps=2, directory=tmp_path, **OPTIONS)
    with pytest.raises(RunDirectoryError, match="already contains a training"):
        bf.train(generator, steps=2, directory=tmp_path, **OPTIONS)
    before = {k: v.clone() for k, v in generator.flow.state_dict().items()}
    bf.testing.randomize_parameters(generator.flow)
    mixed = {k: v.clone() for k, v in generator.flow.state_dict().items()}
    with pytest.raises(FileFormatError, match=r"other settings \(steps\)"):
        bf.train(generator, steps=7, directory=tmp_path, resume=True, **OPTIONS)
    assert all(torch.equal(v, mixed[k]) for k, v in generator.flow.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in generator.flow.state_dict().items())


def test_a_checkpoint_of_another_molecule_is_refused(generator, tmp_path) -> None:
    bf.train(generator, steps=2, directory=tmp_path, **OPTIONS)
    system = bf.load_system("alanine_dipeptide", temperature=310.0)
    other = bf.BoltzmannGenerator.for_system(system, layers=2, hidden=(16,), bins=4, start="plain")
    with pytest.raises(FileFormatError, match=r"other settings \(molecule\)"):
        bf.train(other, steps=2, directory=tmp_path, resume=True, **OPTIONS)


def test_a_trained_generator_says_where_it_comes_from(generator) -> None:
    bf.train(generator, "reverse_kl", steps=2, seed=5, **OPTIONS)
    assert generator.provenance["seed"] == 5
    assert generator.provenance["energy_evaluations"] == 32
    assert generator.provenance["method"]["name"] == "ReverseKL"


def test_a_truncated_checkpoint_is_refused(generator, tmp_path) -> None:
    bf.train(generator, steps=2, directory=tmp_path, **OPTIONS)
    checkpoint = tmp_path / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="is damaged"):
        bf.train(generator, steps=2, directory=tmp_path, resume=True, **OPTIONS)


def test_a_checkpoint_of_another_architecture_is_refused(generator, tmp_path) -> None:
    bf.train(generator, steps=2, directory=tmp_path, **OPTIONS)
    other = bf.BoltzmannGenerator.for_system(generator.system, layers=2, hidden=(8,), bins=4, start="plain")
    with pytest.raises(FileFormatError, match="another architecture"):
        bf.train(other, steps=2, directory=tmp_path, resume=True, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "Invalid value for 'steps': input should be greater than 0; got 0"),
        ({"batch_size": -1}, "Invalid value for 'batch_size'"),
        ({"colour": "red"}, "Unknown key 'colour'"),
        ({"method": "magic"}, "Expected one of the methods .*, reverse_kl, .*; got 'magic'"),
        ({"resume": True}, "directory to resume from"),
    ],
)
def test_impossible_options_are_refused(generator, options, message) -> None:
    with pytest.raises(OptionError, match=message):
        bf.train(generator, compile=False, progress=False, **options)


def test_temperature_falls_geometrically() -> None:
    schedule = Annealing(1200.0, 300.0, hot_share=0.2, cooling_share=0.5)
    assert [schedule(s) for s in (0.0, 0.19, 0.2)] == pytest.approx([1200.0] * 3)
    assert schedule(0.45) == pytest.approx(600.0)
    assert [schedule(s) for s in (0.7, 1.0)] == pytest.approx([300.0] * 2)
    assert Annealing(1200.0, 300.0, 0.0, 0.0)(0.0) == 300.0
    with pytest.raises(OptionError, match="a sum of at most 1"):
        Annealing(1200.0, 300.0, 0.6, 0.6)


def test_learning_rate_warms_up_and_decays() -> None:
    schedule = WarmupCosine(1e-3, warmup=10)
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] < 1e-6
    assert all(a >= b for a, b in pairwise(rates[10:]))
