"""Every source of a molecule by one function, and by each command that takes one."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app as command_line
from boltzflow.errors import BoltzflowError, OptionError
from boltzflow.molecules import available_systems
from boltzflow.molecules.sources import FILES
from boltzflow.workflows.config import SystemConfig
from tests.molecules.test_readers import amber_files, charmm_files, gromacs_files

# OpenMM's reader of GROMACS files leaves them open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")

DIPEPTIDE = available_systems()["alanine_dipeptide"] / "topology.pdb"
Source = tuple[Path, dict[str, Any]]


def pdb(_: Path) -> Source:
    return DIPEPTIDE, {}


def mmcif(folder: Path) -> Source:
    read = app.PDBFile(str(DIPEPTIDE))
    with (folder / "dipeptide.cif").open("w") as file:
        app.PDBxFile.writeFile(read.topology, read.positions, file)
    return folder / "dipeptide.cif", {}


def no_hydrogens(folder: Path) -> Source:
    whole = app.PDBFile(str(DIPEPTIDE))
    read = app.Modeller(whole.topology, whole.positions)
    read.delete([atom for atom in read.topology.atoms() if atom.element.symbol == "H"])
    with (folder / "heavy.pdb").open("w") as file:
        app.PDBFile.writeFile(read.topology, read.positions, file)
    return folder / "heavy.pdb", {"hydrogens_at_ph": 7.0}


def amber(folder: Path) -> Source:
    prmtop, inpcrd = amber_files(folder)
    return prmtop, {"coordinates": inpcrd}


def gromacs(folder: Path) -> Source:
    top, gro = gromacs_files(folder)
    return top, {"coordinates": gro}


def charmm(folder: Path) -> Source:
    psf, structure, parameters = charmm_files(folder)
    return psf, {"coordinates": structure, "parameters": parameters}


def xml(folder: Path) -> Source:
    system = bf.load_system("butane")
    (folder / "butane.xml").write_text(openmm.XmlSerializer.serialize(system.openmm_system))
    return folder / "butane.xml", {"coordinates": available_systems()["butane"] / "topology.pdb"}


def sdf(folder: Path) -> Source:
    chem = pytest.importorskip("rdkit.Chem")
    molecule = chem.AddHs(chem.MolFromSmiles("CCO"))
    importlib.import_module("rdkit.Chem.AllChem").EmbedMolecule(molecule, 0)
    (folder / "ethanol.sdf").write_text(chem.MolToMolBlock(molecule))
    return folder / "ethanol.sdf", {}


SOURCES = {make.__name__: make for make in (pdb, mmcif, no_hydrogens, amber, gromacs, charmm, xml, sdf)}
ATOMS = {"pdb": 22, "mmcif": 22, "no_hydrogens": 22, "amber": 3, "gromacs": 3, "charmm": 3, "xml": 14, "sdf": 9}
EACH = pytest.mark.parametrize("name", SOURCES)
VALUES = {
    "coordinates": "x.gro",
    "parameters": ["x.prm"],
    "forcefield": ["amber14-all.xml"],
    "implicit_solvent": "OBC2",
    "include_folder": "folder",
    "hydrogens_at_ph": 7.0,
    "caps": True,
    "add_hydrogens": True,
    "constraints": "HBonds",
    "temperature": 310.0,
}


def words(options: dict[str, Any]) -> list[str]:
    """Options as they stand on a command line."""
    found: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-"))
        else:
            found += [word for each in (value if isinstance(value, list) else [value]) for word in (flag, str(each))]
    return found


def energy(system: bf.MolecularSystem, positions: np.ndarray | None = None) -> float:
    x = system.positions if positions is None else positions
    return float(system.potential("openmm", platform="Reference").energy(torch.tensor(x)[None]))


@EACH
def test_every_source_is_read(name: str, tmp_path: Path) -> None:
    path, options = SOURCES[name](tmp_path)
    system = bf.read_molecule(path, temperature=310.0, **options)
    assert (system.n_atoms, system.name, system.temperature) == (ATOMS[name], path.stem, 310.0)
    assert bf.read_molecule(str(path), **options).temperature == 300.0


@EACH
def test_every_source_is_added_to_the_library(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, options = SOURCES[name](tmp_path)
    library = tmp_path / "library"
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", str(library))
    arguments = ["systems", "add", str(path), *words(options), "--name", "mine", "--library", str(library)]
    result = CliRunner().invoke(command_line, arguments)
    assert result.exit_code == 0, result.output
    added, read = bf.load_system("mine"), bf.read_molecule(path, **options)
    np.testing.assert_allclose(added.positions, read.positions, atol=1e-4)  # rounded by the PDB format
    assert energy(added) == pytest.approx(energy(read, added.positions), abs=1e-3)


@pytest.mark.parametrize("name", ["no_hydrogens", "amber", "xml"])
def test_a_training_takes_every_source_and_goes_on_without_naming_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    """Paths are relative to the working directory at the start, which is another one when the run goes on."""
    path, options = SOURCES[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    relative = {n: Path(v).name if isinstance(v, Path) and v.parent == tmp_path else v for n, v in options.items()}
    out = ["--out", str(tmp_path / "run")]
    few = ["--layers", "1", "--hidden", "8", "--start", "bonded", "--batch-size", "16", "--samples", "64"]
    begin = ["train", path.name, *words(relative), *few, "--steps", "2", "--check-ps", "0", *out]
    result = CliRunner().invoke(command_line, begin)
    assert result.exit_code == 0, result.output
    monkeypatch.chdir("/")
    result = CliRunner().invoke(command_line, ["train", "--resume", *out])
    assert result.exit_code == 0, result.output
    trained = bf.BoltzmannGenerator.load(tmp_path / "run" / "generator.safetensors").system
    assert energy(trained) == pytest.approx(energy(bf.read_molecule(path, **options)), abs=1e-3)


def test_a_reference_takes_a_file(tmp_path: Path) -> None:
    path, options = amber(tmp_path)
    short = ["--picoseconds", "0.4", "--equilibration", "0.1", "--ladders", "2", "--temperatures", "2"]
    result = CliRunner().invoke(
        command_line, ["reference", str(path), *words(options), *short, "--out", str(tmp_path / "reference")]
    )
    assert result.exit_code == 0, result.output


def test_smiles_become_a_system_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vacuum when it is asked for, OBC2 otherwise; "none" is an answer too."""
    pytest.importorskip("rdkit")
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", str(tmp_path))
    for solvent in ([], ["--implicit-solvent", "none"]):
        arguments = ["systems", "add", "--smiles", "CCO", "--name", f"ethanol{len(solvent)}", *solvent]
        result = CliRunner().invoke(command_line, [*arguments, "--library", str(tmp_path)])
        assert result.exit_code == 0, result.output
    water, vacuum = (bf.load_system(f"ethanol{n}").openmm_system for n in (0, 2))
    assert water.getNumForces() == vacuum.getNumForces() + 1


def test_smiles_need_packages_and_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    result = CliRunner().invoke(command_line, ["train", "--smiles", "CCO"])
    assert result.exit_code == 1
    assert 'pip install "boltzflow[ligands]"' in result.output


def test_a_sequence_is_built() -> None:
    pytest.importorskip("PeptideBuilder")
    acid, base = (bf.read_molecule(sequence="D", hydrogens_at_ph=ph) for ph in (2.0, 7.0))
    assert (acid.name, acid.n_atoms) == ("D", base.n_atoms + 1)
    assert {name.split("-")[0] for name in bf.read_molecule(sequence="AA", caps=False).atom_names} == {"ALA1", "ALA2"}
    assert bf.read_molecule(sequence="A").atom_names == bf.MolecularSystem.from_sequence("A").atom_names


@EACH
@pytest.mark.parametrize("option", VALUES)
def test_an_option_that_does_not_apply_is_named(name: str, option: str, tmp_path: Path) -> None:
    """It is taken, or refused by name before anything is read; never ignored."""
    path, options = SOURCES[name](tmp_path)
    kind = FILES[path.suffix]
    if option in kind.takes or option in kind.needs:
        return
    flag = "--" + option.replace("_", "-")
    with pytest.raises(OptionError, match=f"Expected no {flag} with .*{path.name}, {kind.name}; got"):
        bf.read_molecule(path, **(options | {option: VALUES[option]}))


@pytest.mark.parametrize("name", ["amber", "gromacs", "charmm", "xml"])
def test_a_missing_option_is_named(name: str, tmp_path: Path) -> None:
    path, options = SOURCES[name](tmp_path)
    for missing in options:
        given = {option: value for option, value in options.items() if option != missing}
        with pytest.raises(
            OptionError, match=f"{path.name}, {FILES[path.suffix].name}, needs .*: add --{missing} FILE"
        ):
            bf.read_molecule(path, **given)


@pytest.mark.parametrize("option", [name for name in VALUES if name != "temperature"])
def test_a_library_system_has_its_own_hamiltonian(option: str) -> None:
    with pytest.raises(OptionError, match=r"Expected no --.* with butane, a system of the library"):
        bf.read_molecule("butane", **{option: VALUES[option]})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Expected one molecule: a system's name, a file, --sequence or --smiles; got none"),
        ({"source": "butane", "sequence": "A"}, "got 'butane' and 'A'"),
        ({"source": "molecule.xyz"}, r"Expected a file with one of the suffixes \.pdb"),
        ({"source": "no_such_system"}, "Expected the name of a system, or a file .*; got 'no_such_system'; available"),
        ({"source": "missing.pdb"}, "No such file: missing.pdb"),
        ({"source": "missing.prmtop", "coordinates": "x"}, "No such file: missing.prmtop"),
        ({"source": "missing.xml", "coordinates": "x.pdb"}, "No such file: missing.xml"),
        ({"sequence": ""}, "empty"),
        ({"sequence": "AXA"}, "'X' at position 2"),
    ],
)
def test_what_is_no_molecule_is_refused_in_one_sentence(
    arguments: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BoltzflowError, match=said):
        bf.read_molecule(**arguments)
    source = [arguments.pop("source")] if "source" in arguments else []
    for command in (["train", "--out", str(tmp_path / "run")], ["reference"], ["systems", "add"]):
        result = CliRunner().invoke(command_line, [*command, *source, *words(arguments)])
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert result.output.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_the_command_line_and_the_function_have_the_same_options_and_defaults() -> None:
    found = inspect.signature(bf.read_molecule).parameters
    settings = {name: field.default for name, field in SystemConfig.model_fields.items() if name != "version"}
    assert {("system" if name == "source" else name): p.default for name, p in found.items()} == settings


def test_hamiltonians_as_xml_must_fit(tmp_path: Path) -> None:
    path, _ = xml(tmp_path)
    for text, said in (("<System", "reading it failed"), ("<ForceField/>", "System")):
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(BoltzflowError, match=said):
            bf.read_molecule(tmp_path / "bad.xml", coordinates=DIPEPTIDE)
    with pytest.raises(BoltzflowError, match="14 particles"):
        bf.read_molecule(path, coordinates=DIPEPTIDE)
