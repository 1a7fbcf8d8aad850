"""Run configurations: what is written is read back, and what cannot be is explained in one sentence."""

import pytest

from boltzflow.errors import FileFormatError, OptionError
from boltzflow.workflows.config import RunConfig


def test_written_and_read_back(tmp_path):
    config = RunConfig.of(system="alanine_dipeptide", temperature=310.0, hidden=(64, 32), learning_rate=5e-4, seed=3)
    config.write(tmp_path / "config.yaml")
    assert RunConfig.read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "The key 'system' is missing."),
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
