"""Where systems are looked for, and what their descriptions may hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import boltzflow as bf
from boltzflow.errors import FileFormatError, TemplateError
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


def test_a_force_field_beside_the_description_comes_first(folder):
    """Its own file, not the one of OpenMM that has the same name."""
    path = folder / "mine" / "system.yaml"
    path.write_text(path.read_text().replace("[amber96.xml, implicit/obc1.xml]", "[amber96.xml]"))
    assert bf.load_system("mine").openmm_system.getNumForces() == 4
    (folder / "mine" / "amber96.xml").write_text("<ForceField/>")
    with pytest.raises(TemplateError, match=r"mine.amber96\.xml has no template for residue ACE"):
        bf.load_system("mine")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<ForceField><Script>raise SystemExit</Script></ForceField>", "<Script> would run some"),
        (
            "<ForceField><InitializationScript>x</InitializationScript></ForceField>",
            "<InitializationScript> would run some",
        ),
        ('<ForceField><Include file="other.xml"/></ForceField>', "<Include> would run some"),
        (
            '<ForceField><NonbondedForce useDispersionCorrection="exit()"/></ForceField>',
            "<NonbondedForce> would run some",
        ),
        ("<ForceField>", "reading it failed"),
    ],
)
def test_a_force_field_in_a_systems_folder_runs_no_code(folder, xml, message):
    path = folder / "mine" / "amber96.xml"
    path.write_text(xml)
    with pytest.raises(FileFormatError, match=message) as error:
        bf.load_system("mine")
    assert str(path) in str(error.value)


def test_a_system_is_the_same_in_every_process():
    """Sets of strings have another order in each: OpenMM numbers Lennard-Jones types so."""
    code = "import boltzflow as bf; print(bf.load_system('butane').specification['system'])"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(bf.__file__).parents[1],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1
