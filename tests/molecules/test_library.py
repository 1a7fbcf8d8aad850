"""Where systems are looked for, and what their descriptions may hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import boltzflow as bf
from boltzflow.cli.options import resumed
from boltzflow.errors import FileFormatError, OptionError, TemplateError
from boltzflow.molecules.library import available_systems, library_folders
from boltzflow.workflows.config import RunConfig


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
        (("version: 1", "version: 2"), "Invalid value for 'version'"),
        (("version: 1", ""), "no version"),
        (("temperature: 300.0", "temperature: -1"), "Invalid value for 'temperature'"),
        (("temperature: 300.0", "temprature: 300"), "'temprature'|'temperature' is missing"),
        (("constraints: none", "constraints: some"), "Invalid value for 'constraints'"),
        (("version: 1", "version: [1"), "is not valid YAML"),
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
    with pytest.raises(TemplateError, match=r"mine.amber96\.xml has no template for residue A(CE|LA)"):
        bf.load_system("mine")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<ForceField><Script>raise SystemExit</Script></ForceField>", "got <Script>"),
        (
            "<ForceField><InitializationScript>x</InitializationScript></ForceField>",
            "got <InitializationScript>",
        ),
        ('<ForceField><Include file="other.xml"/></ForceField>', "got <Include>"),
        (
            '<ForceField><NonbondedForce useDispersionCorrection="exit()"/></ForceField>',
            "got <NonbondedForce>",
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


SCRIPT = "<{0}>import pathlib; pathlib.Path('ran').touch()</{0}>"


@pytest.mark.parametrize("element", ["Script", "InitializationScript"])
@pytest.mark.parametrize("name", ["evil.xml", "../evil.xml", "{absolute}", "sub/evil.xml", "../mine/../evil.xml"])
def test_a_name_outside_the_folder_is_one_of_openmms(folder, monkeypatch, element, name):
    """Neither the current directory nor any other place is looked in."""
    elsewhere = folder / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    for path in (elsewhere / "evil.xml", elsewhere / "sub" / "evil.xml", folder / "evil.xml"):
        path.write_text(f"<ForceField>{SCRIPT.format(element)}</ForceField>")
    description = folder / "mine" / "system.yaml"
    files = name.format(absolute=folder / "evil.xml")
    description.write_text(
        description.read_text().replace("[amber96.xml, implicit/obc1.xml]", f"[amber96.xml, {files}]")
    )
    with pytest.raises(FileFormatError, match=r"Expected a force field in .*mine or one of OpenMM's; got '"):
        bf.load_system("mine")
    assert not (elsewhere / "ran").exists()


def test_what_openmm_brings_comes_before_the_current_directory(folder, monkeypatch):
    (folder / "amber96.xml").write_text(f"<ForceField>{SCRIPT.format('InitializationScript')}</ForceField>")
    monkeypatch.chdir(folder)
    assert bf.load_system("mine").n_atoms == 22
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("link", ["file", "folder"])
def test_scripts_behind_links_are_found(folder, monkeypatch, link):
    (folder / "away").mkdir()
    (folder / "away" / "evil.xml").write_text(f"<ForceField>{SCRIPT.format('InitializationScript')}</ForceField>")
    name = "evil.xml" if link == "file" else "sub/evil.xml"
    if link == "file":
        (folder / "mine" / "evil.xml").symlink_to(folder / "away" / "evil.xml")
    else:
        (folder / "mine" / "sub").symlink_to(folder / "away")
    monkeypatch.chdir(folder)
    description = folder / "mine" / "system.yaml"
    description.write_text(description.read_text().replace("[amber96.xml, implicit/obc1.xml]", f"[{name}]"))
    with pytest.raises(FileFormatError, match="got <InitializationScript>"):
        bf.load_system("mine")
    assert not (folder / "ran").exists()


def test_a_system_file_outside_the_folder_is_refused(folder):
    description = folder / "mine" / "system.yaml"
    text = description.read_text().replace("forcefield: [amber96.xml, implicit/obc1.xml]", "openmm_system: ../x.xml")
    description.write_text(text)
    with pytest.raises(FileFormatError, match=r"Expected a file in .*mine; got '\.\./x\.xml'"):
        bf.load_system("mine")


@pytest.mark.parametrize("included", [False, True])
def test_a_users_own_force_field_may_run_code_and_says_so(tmp_path, monkeypatch, included):
    monkeypatch.chdir(tmp_path)
    script = f"<ForceField>{SCRIPT.format('InitializationScript')}</ForceField>"
    (tmp_path / "evil.xml").write_text(script)
    (tmp_path / "outer.xml").write_text('<ForceField><Include file="evil.xml"/></ForceField>')
    name = str(tmp_path / ("outer.xml" if included else "evil.xml"))
    pdb = available_systems()["alanine_dipeptide"] / "topology.pdb"
    with pytest.warns(UserWarning, match=r"evil\.xml contains code that OpenMM will run \(<InitializationScript>\)"):
        assert bf.MolecularSystem.from_pdb(pdb, ["amber96.xml", name]).n_atoms == 22
    assert (tmp_path / "ran").exists()


def test_a_resumed_run_runs_no_code_that_was_not_asked_for(tmp_path):
    (tmp_path / "evil.xml").write_text(f"<ForceField>{SCRIPT.format('InitializationScript')}</ForceField>")
    config = RunConfig.of(system="x.pdb", forcefield=["amber96.xml", str(tmp_path / "evil.xml")])
    config.write(tmp_path / "config.yaml")
    with pytest.raises(OptionError, match=r"<InitializationScript> of .*evil\.xml would run code: name it with"):
        resumed(config, tmp_path, set())
    assert resumed(config, tmp_path, {"forcefield"}) == config


def test_a_name_that_means_two_files_is_refused(tmp_path, monkeypatch):
    (tmp_path / "amber96.xml").write_text("<ForceField/>")
    monkeypatch.chdir(tmp_path)
    pdb = available_systems()["alanine_dipeptide"] / "topology.pdb"
    with pytest.raises(OptionError, match=r"amber96\.xml is one of OpenMM's files and also a file in"):
        bf.MolecularSystem.from_pdb(pdb, "amber96.xml")


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
