"""The moving average of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import boltzflow as bf
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.tensorfile import read_tensors, write_tensors
from boltzflow.training.averaging import WeightAverage
from boltzflow.training.checkpoint import KIND, VERSION

from .conftest import double_well, interrupted_in_step

OPTIONS = {"steps": 12, "batch_size": 32, "warmup": 2, "log_every": 3, "compile": False, "progress": False}


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "checkpoints" / "last.safetensors", KIND, VERSION)[0]


def test_the_average_is_that_of_its_formula() -> None:
    module = torch.nn.Linear(1, 1)
    average, expected = WeightAverage(module, 0.5), module.weight.item()
    for step in range(30):
        with torch.no_grad():
            module.weight.fill_(step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["weight"].item() == pytest.approx(expected)
    average.hand_over()
    assert module.weight.item() == pytest.approx(expected)


def test_the_flow_carries_the_average_in_the_end_and_the_training_is_another_one_in_nothing(tmp_path) -> None:
    plain, averaged = double_well(), double_well()
    averaged.flow.load_state_dict(plain.flow.state_dict())
    one = bf.train(plain, directory=tmp_path / "plain", **OPTIONS)
    two = bf.train(averaged, directory=tmp_path / "averaged", ema=0.9, **OPTIONS)
    assert [r.loss for r in one.records] == [r.loss for r in two.records]
    kept = stored(tmp_path / "averaged")
    for name, parameter in plain.flow.named_parameters():
        assert torch.equal(kept[f"flow.{name}"], parameter)
        assert torch.equal(kept[f"average.{name}"], averaged.flow.get_parameter(name))
    assert any(not torch.equal(p, averaged.flow.get_parameter(n)) for n, p in plain.flow.named_parameters())


def test_resumed_is_as_uninterrupted(tmp_path, monkeypatch) -> None:
    whole, cut, resumed = double_well(), double_well(), double_well()
    for other in (cut, resumed):
        other.flow.load_state_dict(whole.flow.state_dict())
    bf.train(whole, ema=0.9, **OPTIONS)
    with interrupted_in_step(7, monkeypatch):
        bf.train(cut, directory=tmp_path, ema=0.9, **OPTIONS)
    with pytest.raises(FileFormatError, match=r"other settings \(ema\)"):
        bf.train(resumed, directory=tmp_path, resume=True, **OPTIONS)
    bf.train(resumed, directory=tmp_path, resume=True, ema=0.9, **OPTIONS)
    for name, tensor in whole.flow.state_dict().items():
        assert torch.equal(tensor, resumed.flow.state_dict()[name]), name


def test_a_checkpoint_from_before_there_was_an_option_goes_on(tmp_path) -> None:
    model = double_well()
    bf.train(model, directory=tmp_path, **OPTIONS)
    path = tmp_path / "checkpoints" / "last.safetensors"
    tensors, header = read_tensors(path, KIND, VERSION)
    del header["progress"]["settings"]["ema"]
    write_tensors(path, tensors, KIND, VERSION, header)
    assert bf.train(model, directory=tmp_path, resume=True, **OPTIONS).last.step == 12


@pytest.mark.parametrize("ema", [-0.1, 1.0])
def test_an_impossible_decay_is_refused(ema) -> None:
    with pytest.raises(OptionError, match="'ema': expected 0 or a number from 1e-06 to 0"):
        bf.train(double_well(), ema=ema, **OPTIONS)
