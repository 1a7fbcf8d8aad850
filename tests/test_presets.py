"""What a preset chooses, and that what is asked for goes before it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app
from boltzflow.core import recipes
from boltzflow.core.distributions import targets
from boltzflow.errors import OptionError
from boltzflow.presets import PRESETS, faster_precision, flow_settings, training_settings
from boltzflow.training import DensityModel, ReverseKL, TrainingOptions
from boltzflow.training.methods import METHODS
from boltzflow.workflows.config import RunConfig

FIXED = {"precision": "float32"}


def budget(name, coordinates, **given):
    return training_settings(name, coordinates, "cpu", 1, FIXED | given)


def test_budgets_grow_from_quick_to_best_and_with_the_molecule() -> None:
    budgets = [budget(name, 60)["steps"] for name in ("quick", "standard", "best")]
    assert budgets == sorted(set(budgets))
    assert set(PRESETS) == {"quick", "standard", "best"}
    assert budget("standard", 240)["steps"] == pytest.approx(4 * budget("standard", 60)["steps"], rel=1e-3)
    assert flow_settings("standard", 240)["hidden"] == (256, 256)


def test_what_is_asked_for_goes_before_the_preset() -> None:
    asked = RunConfig.of(system="x", preset="quick", layers=3, steps=7, patience=0, precision="float32")
    config = asked.completed(60)
    assert (config.layers, config.steps, config.patience, config.precision) == (3, 7, 0, "float32")
    assert (config.optimizer, config.peak_learning_rate) == ("soap", 3e-3)
    assert RunConfig.of(system="x", optimizer="adam").completed(60).peak_learning_rate == 1e-3
    assert config.hidden == (96, 96)
    assert config.part(TrainingOptions).batch_size == config.batch_size == 512
    assert config.completed(60) == config


def test_several_devices_can_share_a_batch() -> None:
    chosen = training_settings("standard", 60, "cpu", 3, {})
    assert chosen["batch_size"] % 3 == 0
    assert chosen["precision"] == "float32"


def test_a_short_training_has_no_patience() -> None:
    assert budget("quick", 60, steps=500)["patience"] == 0
    assert budget("quick", 60, steps=6000)["patience"] == 1000
    assert budget("quick", 60, steps=6000, log_every=501)["patience"] == 0  # below two records
    assert RunConfig.of(system="x", temperatures=(300.0, 600.0)).completed(60).patience == 0


def test_the_precision_is_one_of_two() -> None:
    assert faster_precision("cpu") in ("float32", "bfloat16")


def test_an_unknown_preset_is_refused() -> None:
    butane = bf.load_system("butane")
    with pytest.raises(OptionError, match="'preset'"):
        RunConfig.of(system="x", preset="fastest")
    with pytest.raises(OptionError, match="Expected one of the presets quick, standard, best; got 'fastest'"):
        bf.BoltzmannGenerator.for_system(butane, preset="fastest")
    generator = bf.BoltzmannGenerator.for_system(butane, layers=1, hidden=(8,), start="plain")
    with pytest.raises(OptionError, match="Expected one of the presets quick, standard, best; got 'fastest'"):
        bf.train(generator, preset="fastest", compile=False)


class Resolved(Exception):
    """In place of a training: what it would have been."""


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch):
    """What a training is given that is about to begin, and the flow that it begins with."""

    def run(model, method, options, *_):
        raise Resolved(method, options, model)

    monkeypatch.setattr("boltzflow.training.trainer._Run", run)

    def of(begin):
        with pytest.raises(Resolved) as found:
            begin()
        return found.value.args

    return of


@pytest.mark.parametrize("asked", [{}, {"steps": 1300, "method": "fab"}], ids=["nothing asked for", "some asked for"])
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_python_and_the_command_line_mean_the_same(preset, asked, resolved, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("boltzflow.workflows.training._cost", lambda *_: "nothing")
    named = {} if preset is None else {"preset": preset}
    text = [part for name, value in (named | asked).items() for part in (f"--{name}", str(value))]

    def command() -> None:
        result = CliRunner().invoke(app, ["train", "butane", "--start", "plain", "--out", str(tmp_path / "run"), *text])
        raise result.exception

    # The command's errors are sentences; this one is to come through.
    monkeypatch.setattr("boltzflow.cli.root.Commands.invoke", lambda self, ctx: super(type(self), self).invoke(ctx))
    method, options, model = resolved(command)
    generator = bf.BoltzmannGenerator.for_system(bf.load_system("butane"), **named, start="plain")
    assert resolved(lambda: bf.train(generator, **named, **asked, compile=False)) == (method, options, generator)
    assert generator.architecture == model.architecture
    assert generator.identity == model.identity
    assert method == METHODS[asked.get("method", "reverse_then_forward")]
    assert options.optimizer == "soap"


def test_what_only_reverse_kl_trains_is_trained_with_it(resolved) -> None:
    options = {"layers": 2, "hidden": (8,), "start": "plain", "stochastic": "metropolis", "stochastic_every": 1}
    generator = bf.BoltzmannGenerator.for_system(bf.load_system("butane"), **options)
    assert resolved(lambda: bf.train(generator, compile=False))[0] == ReverseKL()
    assert RunConfig.of(system="x", stochastic="metropolis").completed(60).method == "reverse_kl"


def test_a_density_has_defaults_of_its_own(resolved) -> None:
    target = targets.DoubleWell()
    model = DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(8,)), target)
    assert resolved(lambda: bf.train(model, compile=False)) == (ReverseKL(), TrainingOptions(), model)
    with pytest.raises(OptionError, match="Expected a preset only for a BoltzmannGenerator; got 'quick' for a Dens"):
        bf.train(model, preset="quick", compile=False)
