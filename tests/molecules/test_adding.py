"""Molecules put into the library, from Python and from the command line."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app
from boltzflow.errors import FileFormatError, OptionError, RunDirectoryError, StorageError
from boltzflow.molecules import available_systems
from boltzflow.molecules.adding import add_to_library

# OpenMM's reader of GROMACS files leaves them open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")

BUTANE = available_systems()["butane"]
DIPEPTIDE = available_systems()["alanine_dipeptide"] / "topology.pdb"
FIELD = ("amber96.xml", "implicit/obc1.xml")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", str(tmp_path / "library"))
    return tmp_path / "library"


def energy(system: bf.MolecularSystem) -> float:
    return float(system.potential("openmm", platform="Reference").energy(torch.tensor(system.positions)[None]))


@pytest.mark.parametrize(
    ("file", "forcefield", "files"),
    [
        (DIPEPTIDE, FIELD, {"README.md", "system.yaml", "topology.pdb"}),
        (
            BUTANE / "topology.pdb",
            (str(BUTANE / "forcefield.xml"),),
            {"README.md", "system.yaml", "topology.pdb", "system.xml"},
        ),
    ],
)
def test_what_was_added_is_loaded(library: Path, file: Path, forcefield: tuple[str, ...], files: set[str]) -> None:
    system = bf.read_molecule(file, forcefield=forcefield, temperature=310.0)
    folder = add_to_library(system, "mine", source=file.name, forcefield=forcefield, library=library)
    assert {path.name for path in folder.iterdir()} == files
    again = bf.load_system("mine")
    assert (again.temperature, again.atom_names) == (310.0, system.atom_names)
    assert sorted(map(sorted, again.bonds)) == sorted(map(sorted, system.bonds))
    assert energy(again) == pytest.approx(energy(system), abs=1e-6)
    assert f"{system.n_atoms} atoms" in (folder / "README.md").read_text()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RunDirectoryError, match="a new name"):
        add_to_library(system, "mine", source="x", library=library)
    with pytest.raises(RunDirectoryError, match="a new name"):
        add_to_library(system, "alanine_dipeptide", source="x", library=library)
    with pytest.raises(OptionError, match="lower-case"):
        add_to_library(system, "../mine", source="x", library=library)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def rename_atoms(system: bf.MolecularSystem) -> None:
    for atom in system.topology.atoms():
        atom.name = "X"


def rename_residues(system: bf.MolecularSystem) -> None:
    for residue in system.topology.residues():
        residue.name = "LONGNAME"


@pytest.mark.parametrize("forcefield", [(), FIELD])
@pytest.mark.parametrize("rename", [rename_atoms, rename_residues])
def test_names_that_a_pdb_file_cannot_hold_are_kept(
    library: Path, rename: Callable[[bf.MolecularSystem], None], forcefield: tuple[str, ...]
) -> None:
    system = bf.read_molecule(DIPEPTIDE, forcefield=FIELD)
    rename(system)
    folder = add_to_library(system, "names", source="x", forcefield=forcefield, library=library)
    assert (folder / "topology.pdb").is_file()
    again = bf.load_system("names")
    assert again.atom_names == system.atom_names
    assert sorted(map(sorted, again.bonds)) == sorted(map(sorted, system.bonds))
    assert np.array_equal(again.positions, system.positions)
    assert energy(again) == pytest.approx(energy(system), abs=1e-6)
    whole = json.loads((folder / "structure.json").read_text())
    for text in (
        json.dumps(whole | {"positions": "x"}),
        "{",
        "[]",
        "{}",
        '{"topology": {}, "positions": []}',
        '{"topology": 1}',
    ):
        (folder / "structure.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"Expected a topology and positions in .*structure\.json"):
            bf.load_system("names")


@pytest.mark.parametrize("file", ["topology.pdb", "system.xml", "system.yaml", "README.md"])
def test_a_full_disk_leaves_nothing(library: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    system = bf.read_molecule(DIPEPTIDE, forcefield=FIELD)
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        add_to_library(system, "mine", source="x", library=library)
    assert not list(library.iterdir())
    monkeypatch.undo()
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", str(library))
    add_to_library(system, "mine", source="x", library=library)
    assert [path.name for path in library.iterdir()] == ["mine"]
    assert bf.load_system("mine").n_atoms == 22


def test_a_description_must_say_where_energies_come_from(library: Path) -> None:
    system = bf.read_molecule(DIPEPTIDE, forcefield=FIELD)
    folder = add_to_library(system, "mine", source="x", library=library)
    (folder / "system.xml").write_text("<System")
    with pytest.raises(FileFormatError, match=r"openmm\.System"):
        bf.load_system("mine")
    (folder / "system.xml").unlink()
    with pytest.raises(FileFormatError, match=r"system\.xml"):
        bf.load_system("mine")
    text = (folder / "system.yaml").read_text().replace("openmm_system: system.xml", "openmm_system: null")
    (folder / "system.yaml").write_text(text)
    with pytest.raises(FileFormatError, match="either a forcefield or an openmm_system"):
        bf.load_system("mine")


def test_what_the_command_adds_is_listed(library: Path) -> None:
    arguments = ["add", str(DIPEPTIDE), "--name", "peptide", "--constraints", "HBonds", "--library", str(library)]
    assert CliRunner().invoke(app, ["systems", *arguments]).output.startswith("peptide: 22 atoms, ")
    listed = CliRunner().invoke(app, ["systems", "list"]).output
    assert all(name in listed for name in ("peptide", "butane"))
    assert bf.load_system("peptide").openmm_system.getNumConstraints() == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([DIPEPTIDE, "--name", ""], "got ''"),
        ([DIPEPTIDE, "--name", "$^$"], "got '$^$'"),
        ([DIPEPTIDE, "--name", "../mine"], "got '../mine'"),
        ([DIPEPTIDE, "--name", "a/b"], "got 'a/b'"),
        (["Benzene (1).pdb"], "No such file"),
        (["none.pdb"], "none.pdb"),
        (["x.docx"], "suffixes .pdb, .ent, .cif"),
    ],
)
def test_the_command_refuses_in_one_sentence(library: Path, arguments: list[object], message: str) -> None:
    result = CliRunner().invoke(app, ["systems", "add", *map(str, arguments)])
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not library.exists()
