"""Where systems are looked for, and what their descriptions may hold."""

import os
import shutil

import pytest

import boltzflow as bf
from boltzflow.errors import FileFormatError
from boltzflow.molecules.library import available_systems, library_folders


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of $BOLTZFLOW_SYSTEMS with one system, `mine`."""
    shutil.copytree(available_systems()["alanine_dipeptide"], tmp_path / "mine")
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", os.pathsep.join([str(tmp_path / "empty"), str(tmp_path)]))
    return tmp_path


def test_the_environment_variable_comes_first(folder):
    assert library_folders()[:2] == (folder / "empty", folder)
    assert set(available_systems()) >= {"mine", "alanine_dipeptide"}
    assert bf.load_system("mine").name == "mine"
    shutil.copytree(folder / "mine", folder / "alanine_dipeptide")
    assert available_systems()["alanine_dipeptide"] == folder / "alanine_dipeptide"


def test_the_order_of_folders(monkeypatch):
    monkeypatch.delenv("BOLTZFLOW_SYSTEMS", raising=False)
    user, package, checkout = library_folders()
    assert user.parent.name == "boltzflow"
    assert (package.parent.name, package.name) == ("boltzflow", "systems")
    assert checkout.parent == package.parent.parent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version: 1", "version: 2"), "Bad value for 'version'"),
        (("version: 1", ""), "no version"),
        (("temperature: 300.0", "temperature: -1"), "Bad value for 'temperature'"),
        (("temperature: 300.0", "temprature: 300"), "'temprature'|'temperature' is missing"),
        (("constraints: none", "constraints: some"), "Bad value for 'constraints'"),
        (("version: 1", "version: [1"), "Expected YAML"),
    ],
)
def test_damaged_descriptions_are_explained(folder, change, message):
    path = folder / "mine" / "system.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(FileFormatError, match=message) as error:
        bf.load_system("mine")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
