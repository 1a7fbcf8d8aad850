"""The records of a training for TensorBoard."""

from __future__ import annotations

import sys
from dataclasses import asdict

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import boltzflow as bf
from boltzflow.errors import MissingDependencyError, OptionError

from .conftest import double_well

OPTIONS = {"steps": 6, "batch_size": 16, "warmup": 2, "log_every": 2, "compile": False, "progress": False}


def test_every_number_of_every_record_is_written(tmp_path) -> None:
    history = bf.train(double_well(), directory=tmp_path, tensorboard=True, **OPTIONS)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = set(asdict(history.last)) - {"step"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(r.step, pytest.approx(getattr(r, name), rel=1e-6)) for r in history.records], name


def test_without_asking_there_are_none(tmp_path) -> None:
    bf.train(double_well(), directory=tmp_path, **OPTIONS)
    assert not (tmp_path / "tensorboard").exists()


def test_a_directory_and_the_package_are_needed(tmp_path, monkeypatch) -> None:
    with pytest.raises(OptionError, match="Expected a directory for TensorBoard logs; got none"):
        bf.train(double_well(), tensorboard=True, **OPTIONS)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'boltzflow\[tensorboard\]'"):
        bf.train(double_well(), directory=tmp_path, tensorboard=True, **OPTIONS)
