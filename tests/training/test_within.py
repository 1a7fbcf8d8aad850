"""The number of steps for the time at hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app
from boltzflow.errors import OptionError
from boltzflow.presets import PRESETS, preset_for
from boltzflow.training import ReverseKL
from boltzflow.training.cost import Cost
from boltzflow.workflows import within
from boltzflow.workflows.config import RunConfig

SMALL = {"layers": 1, "hidden": (8,), "start": "bonded"}


@pytest.fixture
def a_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "estimate_cost", lambda *given: Cost(1, 0.1 * given[2].steps, 1.0))


@pytest.mark.parametrize("coordinates", [9, 60, 400])
def test_more_time_is_never_for_a_smaller_preset(coordinates: int) -> None:
    chosen = [preset_for(minutes, coordinates, "cpu") for minutes in (0.01, 1.0, 10.0, 60.0, 600.0, 1e5)]
    order = [list(PRESETS).index(name) for name in chosen]
    assert order == sorted(order)
    assert (chosen[0], chosen[-1]) == ("quick", "best")


def test_samples_check_and_report_come_out_of_the_time(a_tenth_of_a_second: None) -> None:
    """With 0.1 s a step: ten minutes less 20 s for the report and 100 000 samples at a third of a step's time."""
    generator = bf.BoltzmannGenerator.for_system(bf.load_system("butane"), **SMALL)
    config = RunConfig.of(system="butane", steps=1000, batch_size=500, samples=100_000, check_picoseconds=0.0)
    began = time.monotonic() - 60.0
    steps = within.steps_within(10.0, began, config, generator, ReverseKL())
    assert steps == pytest.approx((600 - 60 - 20 - 200 / 30) / 0.1, abs=20)
    checked = RunConfig.of(**config.given | {"check_picoseconds": 20.0})
    assert within.steps_within(10.0, began, checked, generator, ReverseKL()) < steps - 300
    with pytest.raises(OptionError, match=r"Expected at least 2 minutes .* 27 s of them for samples.*; got 1\."):
        within.steps_within(1.0, began, config, generator, ReverseKL())


def test_a_run_keeps_the_steps_it_was_given_time_for(
    a_tenth_of_a_second: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    options = ["--layers", "1", "--hidden", "8", "--start", "bonded", "--batch-size", "16", "--samples", "64"]
    arguments = ["train", "butane", *options, "--check-ps", "0", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(within, "_FEWEST", 2)
    monkeypatch.setattr(within, "_REPORT", 180.0)
    result = CliRunner().invoke(app, [*arguments, "--minutes", "3.2", "--preset", "quick"])
    assert result.exit_code == 0, result.output
    config = RunConfig.read(tmp_path / "run" / "config.yaml")
    assert 2 <= config.steps < 120
    assert (config.minutes, config.preset, config.hidden) == (3.2, "quick", (8,))
    again = CliRunner().invoke(app, [*arguments, "--resume"])
    assert again.exit_code == 0, again.output
    assert RunConfig.read(tmp_path / "run" / "config.yaml").steps == config.steps


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--steps", "100"], "Expected --minutes or --steps; got 5 minutes and 100 steps."),
        (["--devices", "2"], "Expected --minutes on one device; got 2 devices."),
    ],
)
def test_minutes_are_an_alternative_to_steps(other: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "butane", "--minutes", "5", *other, "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert said in result.output
    assert not (tmp_path / "run").exists()
