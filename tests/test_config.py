"""Settings of runs: each field is an option and an entry of config.yaml, and what it cannot be is said in one sentence.

The fields themselves are what is tested: one that is added is tested too.
"""

import re

import pytest
import yaml
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.architecture import Architecture
from boltzflow.cli import app
from boltzflow.cli.fields import ARGUMENTS, Setting, help_of, settings_of
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.training import TrainingOptions
from boltzflow.workflows.config import ReferenceConfig, RunConfig

COMMANDS = {"train": RunConfig, "reference": ReferenceConfig}
SETTINGS = [(command, setting) for command, config in COMMANDS.items() for setting in settings_of(config)]
EACH = pytest.mark.parametrize(("command", "setting"), SETTINGS, ids=[f"{c} {s.flag}" for c, s in SETTINGS])
FREE = {"method", "data", "forcefield", "sequence", "smiles", "coordinates", "parameters", "include_folder"}
"""Texts that are looked up later."""

VALUES = (True, 7, 200, 0.5, 2.0, 310.0, 0.01, (300, 600), ["a.xml"], "/b")


def other_value(config, name):
    """A possible value that is not the default."""
    choices = yaml.safe_load(str(schema(config, name).get("enum", "[]")))
    for value in (*choices, *VALUES):
        try:
            made = getattr(config.of(system="x", **{name: value}), name)
        except OptionError:
            continue
        if made != config.model_fields[name].default:
            return made
    raise AssertionError(f"{name} has no other value")


def schema(config, name):
    """What a field may be, without the None that stands for nothing."""
    found = config.model_json_schema()["properties"][name]
    return found["anyOf"][0] if "anyOf" in found else found


def bad_value(config, name):
    kind = schema(config, name).get("type")
    return {"integer": -1, "number": -1.0, "array": (-1, -1), "string": "magic"}.get(kind)


def words(value):
    """As it is written on a command line."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)


def call(command, *arguments):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, [command, "butane", *arguments])


@pytest.mark.parametrize(("command", "config"), COMMANDS.items(), ids=COMMANDS)
def test_every_field_is_on_the_command_line_with_its_help(command, config) -> None:
    text = re.sub(r"[\s│]+", " ", call(command, "--help").stdout)
    assert {setting.name for setting in settings_of(config)} == set(config.model_fields) - ARGUMENTS - {"version"}
    for setting in settings_of(config):
        described = help_of(config.model_fields[setting.name])
        assert len(described) > 5
        assert f"{setting.flag} " in text
        assert described in text
    for name in ARGUMENTS:
        assert help_of(config.model_fields[name]) in text


@EACH
def test_an_option_is_its_field_and_its_entry_in_the_file(command, setting: Setting, tmp_path, monkeypatch) -> None:
    config = COMMANDS[command]
    value, asked = other_value(config, setting.name), []
    for place in ("boltzflow.workflows.training.train_run", "boltzflow.cli.reference.reference_run"):
        monkeypatch.setattr(place, lambda config, *_: asked.append(config))
    monkeypatch.setattr("boltzflow.cli.generators.started", lambda: (0, 2))  # one of several processes
    text = [] if value is True else [words(value)]
    result = call(command, "--out", str(tmp_path / "run"), setting.flag, *text)
    assert asked, result.output
    assert getattr(asked[0], setting.name) == value
    assert asked[0].given.keys() == {"system", setting.name}
    path = tmp_path / "config.yaml"
    asked[0].write(path)
    assert setting.name in yaml.safe_load(path.read_text())
    assert config.read(path) == asked[0]


@EACH
def test_what_is_out_of_range_is_a_sentence_everywhere(command, setting: Setting, tmp_path) -> None:
    config, name = COMMANDS[command], setting.name
    bad = bad_value(config, name)
    if bad is None or name in FREE:
        return
    said = []
    makers = [lambda: config.of(system="x", **{name: bad})]
    if command == "train" and name in TrainingOptions.model_fields:
        makers.append(lambda: bf.train(None, **{name: bad}))
    if command == "train" and name in Architecture.model_fields and name != "temperatures":  # which may be Quantities
        makers.append(lambda: bf.BoltzmannGenerator.for_system(None, **{name: bad}))
    for make in makers:
        with pytest.raises(OptionError) as error:
            make()
        said.append(str(error.value))
    result = call(command, "--out", str(tmp_path / "run"), setting.flag, words(bad))
    assert result.exit_code == 1
    said.append(result.stderr.removeprefix("Error: ").rstrip("\n"))
    assert len({text.replace("-1.0", "-1") for text in said}) == 1
    assert said[0].startswith(f"Invalid value for '{name}")
    assert "\n" not in said[0]
    assert said[0].endswith(".")
    assert not (tmp_path / "run").exists()


def test_older_files_are_read(tmp_path) -> None:
    """With fewer entries, and None where the preset chooses."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "{version: 1, system: alanine_dipeptide, forcefield: [], constraints: none, temperature: null, data: null, "
        "method: reverse_kl, steps: 3000, batch_size: null, optimizer: adam, learning_rate: null, ema: 0.0, "
        "precision: float32, patience: 0, tensorboard: false, accelerator: cpu, devices: 1, layers: 12, "
        "hidden: [96, 96], bins: 8, temperatures: null, samples: 100000, check_picoseconds: 20.0, seed: 0}"
    )
    config = RunConfig.read(path).completed(60)
    assert (config.method, config.steps, config.batch_size, config.optimizer) == ("reverse_kl", 3000, 512, "adam")
    assert (config.layers, config.hidden, config.patience, config.warmup) == (12, (96, 96), 0, 200)


def test_an_architecture_is_in_files_what_it_always_was() -> None:
    plain = {"layers": 2, "hidden": [16, 8], "bins": 4, "net": "mlp", "start": "bonded", "seed": 3}
    wide = plain | {"temperatures": [300.0, 600.0]}
    steps = wide | {"stochastic": {"kernel": "langevin", "every": 1, "steps": 7}}
    for header in (plain, wide, steps):
        assert Architecture.from_header(header).header == header
        assert list(Architecture.from_header(header).header) == list(header)
    old = {"layers": 2, "hidden": [16], "bins": 4, "net": "mlp", "seed": 0}
    assert Architecture.from_header(old) == Architecture(layers=2, hidden=(16,), bins=4, harmonics=1, start="plain")


def test_written_and_read_back(tmp_path):
    config = RunConfig.of(system="alanine_dipeptide", temperature=310.0, hidden=(64, 32), learning_rate=5e-4, seed=3)
    config.write(tmp_path / "config.yaml")
    assert RunConfig.read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"system": "x", "stepps": 1}, "Unknown key 'stepps'."),
        ({"system": "x", "steps": 0}, "Invalid value for 'steps': input should be greater than 0; got 0."),
        ({"system": "x", "hidden": (8, -1)}, "Invalid value for 'hidden.1'"),
        ({"system": "x", "temperature": -300.0}, "Invalid value for 'temperature'"),
        ({"system": "x", "version": 2}, "Invalid value for 'version'"),
    ],
)
def test_faults_are_named(values, message, tmp_path):
    with pytest.raises(OptionError) as error:
        RunConfig.of(**values)
    assert str(error.value).startswith(message)
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\n" + "\n".join(f"{k}: {list(v) if isinstance(v, tuple) else v}" for k, v in values.items())
    )
    with pytest.raises(FileFormatError, match=r"config\.yaml"):
        RunConfig.read(path)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig.of(system="x").steps = 3
