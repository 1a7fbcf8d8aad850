"""A training whose ESS has stopped rising is brought to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import boltzflow as bf
from boltzflow.errors import OptionError
from boltzflow.training import Record, ReverseKL
from boltzflow.training.stopping import has_stopped_rising

from .conftest import double_well

OPTIONS = {"batch_size": 64, "warmup": 5, "log_every": 5, "compile": False, "progress": False}
ONE = Record(1, 300.0, 0.0, 0.5, 1.0, 1e-3, 0, 0, 0, 0.0)


def records(esses: list[float], temperature: float = 300.0) -> list[Record]:
    return [replace(ONE, step=10 * (i + 1), ess=ess, temperature_K=temperature) for i, ess in enumerate(esses)]


def test_what_counts_as_having_stopped() -> None:
    noisy = [0.5, 0.52, 0.48, 0.5, 0.51, 0.49, 0.52, 0.48]
    assert has_stopped_rising(records(noisy), 4, 300.0)
    assert not has_stopped_rising(records(noisy), 5, 300.0), "too few records"
    assert not has_stopped_rising(records(noisy[:4] + [e + 0.1 for e in noisy[4:]]), 4, 300.0), "it rises"
    assert has_stopped_rising(records(noisy[:4] + [e - 0.1 for e in noisy[4:]]), 4, 300.0), "it falls"
    assert not has_stopped_rising(records(noisy, 310.0), 4, 300.0), "another temperature"
    assert not has_stopped_rising(records(noisy[:1], 310.0) + records(noisy)[1:], 4, 300.0), "one of another"
    assert has_stopped_rising(records(noisy, 300.0 + 1e-13), 4, 300.0), "a rounded temperature"
    assert not has_stopped_rising(records(noisy), 4, 300.0, after=10), "warming up"
    assert has_stopped_rising(records([0.1, *noisy]), 4, 300.0, after=10)


def test_it_ends_once_nothing_rises_and_the_learning_rate_falls_to_zero() -> None:
    """At a vanishing learning rate nothing is learnt, so the first check, at step 45, sees that."""
    model = double_well()
    history = bf.train(
        model, ReverseKL(hot_share=0.0, cooling_share=0.0), steps=1000, patience=20, learning_rate=1e-9, **OPTIONS
    )
    assert history.stopped_early
    plateau = next(r.step for r in history.records if has_stopped_rising(history.records[: r.step // 5], 4, 300.0, 5))
    assert history.last.step == plateau + 20 < 1000
    rates = [r.learning_rate for r in history.records[-4:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-9 / 20, rel=0.05)


def test_it_does_not_end_while_hot_or_where_it_is_off() -> None:
    options = {**OPTIONS, "learning_rate": 1e-9, "steps": 100}
    assert not bf.train(double_well(), patience=0, **options).stopped_early
    history = bf.train(double_well(), ReverseKL(hot_share=1.0, cooling_share=0.0), patience=20, **options)
    assert not history.stopped_early
    assert history.last.step == 100


def test_resumed_is_as_uninterrupted_also_where_it_ends(tmp_path, monkeypatch) -> None:
    whole, cut, resumed = double_well(), double_well(), double_well()
    for other in (cut, resumed):
        other.flow.load_state_dict(whole.flow.state_dict())
    options = {**OPTIONS, "learning_rate": 1e-9, "steps": 1000, "patience": 20}
    method = ReverseKL(hot_share=0.0, cooling_share=0.0)
    expected = bf.train(whole, method, **options)
    backward, calls = torch.Tensor.backward, []

    def interrupted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == expected.last.step - 7:  # on the way to the end
            raise KeyboardInterrupt
        return backward(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bf.train(cut, method, directory=tmp_path, **options)
    found = bf.train(resumed, method, directory=tmp_path, resume=True, **options)
    assert found.stopped_early
    assert [(r.step, r.loss, r.learning_rate) for r in found.records] == [
        (r.step, r.loss, r.learning_rate) for r in expected.records
    ]
    for name, tensor in whole.flow.state_dict().items():
        assert torch.equal(tensor, resumed.flow.state_dict()[name]), name
    again = bf.train(resumed, method, directory=tmp_path, resume=True, **options)
    assert (again.stopped_early, again.last.step) == (True, expected.last.step)


def test_a_patience_of_less_than_two_records_is_refused() -> None:
    with pytest.raises(OptionError, match="Expected a patience of 0 or of at least two records, 10 steps; got 9"):
        bf.train(double_well(), steps=10, patience=9, **OPTIONS)
