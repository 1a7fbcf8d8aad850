"""What a preset chooses, and that what is asked for goes before it."""

from __future__ import annotations

import pytest

from boltzflow.errors import OptionError
from boltzflow.presets import PRESETS, faster_precision, settings
from boltzflow.workflows.config import RunConfig


def test_budgets_grow_from_quick_to_best_and_with_the_molecule() -> None:
    budgets = [settings(name, 60, "cpu")["steps"] for name in ("quick", "standard", "best")]
    assert budgets == sorted(set(budgets))
    assert set(PRESETS) == {"quick", "standard", "best"}
    small, large = settings("standard", 60, "cpu"), settings("standard", 240, "cpu")
    assert large["steps"] == pytest.approx(4 * small["steps"], rel=1e-3)
    assert large["hidden"] == (256, 256)


def test_what_is_asked_for_goes_before_the_preset() -> None:
    asked = RunConfig.of(system="x", preset="quick", layers=3, steps=7, patience=0, precision="float32")
    config = asked.completed(60)
    assert (config.layers, config.steps, config.patience, config.precision) == (3, 7, 0, "float32")
    assert (config.optimizer, config.training_options.peak_learning_rate) == ("soap", 3e-3)
    assert RunConfig.of(system="x", optimizer="adam").completed(60).training_options.peak_learning_rate == 1e-3
    assert config.hidden == (96, 96)
    assert config.training_options.batch_size == config.batch_size == 512
    assert config.completed(60) == config


def test_several_devices_can_share_a_batch() -> None:
    chosen = settings("standard", 60, "cpu", devices=3)
    assert chosen["batch_size"] % 3 == 0
    assert chosen["precision"] == "float32"


def test_a_short_training_has_no_patience() -> None:
    assert settings("quick", 60, "cpu", steps=500)["patience"] == 0
    assert settings("quick", 60, "cpu", steps=6000)["patience"] == 1000


def test_the_precision_is_one_of_two() -> None:
    assert faster_precision("cpu") in ("float32", "bfloat16")


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(OptionError, match="'preset'"):
        RunConfig.of(system="x", preset="fastest")
