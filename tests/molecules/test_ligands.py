"""Small molecules from SMILES and from files without parameters."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.energies.system_xml import system_to_xml
from boltzflow.errors import (
    ConvergenceError,
    EvaluationError,
    FileFormatError,
    MissingDependencyError,
    OptionError,
    SystemNotFoundError,
    TemplateError,
    TopologyError,
)
from boltzflow.molecules.readers import gaff
from boltzflow.molecules.readers.molecule import ELEMENTS, atom_names, topology_of

both_isomers = pytest.mark.filterwarnings("ignore:.*has E and Z isomers:UserWarning")
neutral_as_written = pytest.mark.filterwarnings("ignore:.*is used as written:UserWarning")

MOLECULES = {
    "o-cresol": ("Cc1ccccc1O", 0),
    "4-methylimidazole": ("Cc1c[nH]cn1", 0),
    "propylammonium": ("CCC[NH3+]", 1),
    "glycine": ("[NH3+]CC(=O)[O-]", 0),
    "nitromethane": ("C[N+](=O)[O-]", 0),
    "a sulfonamide": ("CS(=O)(=O)NC", 0),
    "halogens": ("O[C@H](F)c1cc(Br)cc(I)c1Cl", 0),
    "an E alkene": ("C/C=C/Cl", 0),
    "a Z alkene": ("C/C=C\\Cl", 0),
    "dimethyl phosphate": ("COP(=O)([O-])OC", -1),
}
LARGER = {
    "aspirin": ("CC(=O)Oc1ccccc1C(=O)O", 0),
    "ibuprofen": ("CC(C)Cc1ccc([C@H](C)C(=O)O)cc1", 0),
    "glucose": ("OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O", 0),
    "serine": ("[NH3+][C@@H](CO)C(=O)[O-]", 0),
}
CASES = [
    *(pytest.param(*molecule, id=name) for name, molecule in MOLECULES.items()),
    *(pytest.param(*molecule, id=name, marks=pytest.mark.slow) for name, molecule in LARGER.items()),
]


@pytest.fixture(scope="module")
def tools() -> None:
    pytest.importorskip("rdkit")
    try:
        gaff.check_options("gaff2", "AM1-BCC", "OBC2", None)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@cache
def made(smiles: str) -> bf.MolecularSystem:
    return bf.MolecularSystem.from_smiles(smiles)


def charges_of(system: bf.MolecularSystem) -> list[float]:
    openmm_system = system.openmm_system  # keeps its forces alive
    (force,) = (f for f in openmm_system.getForces() if isinstance(f, openmm.NonbondedForce))
    return [force.getParticleParameters(i)[0].value_in_unit(u.elementary_charge) for i in range(system.n_atoms)]


def digest(system: bf.MolecularSystem) -> str:
    return hashlib.sha256(system_to_xml(system.openmm_system).encode() + system.positions.tobytes()).hexdigest()


# What needs no other package.


def test_atom_names_are_unique_and_fit_into_a_pdb_file() -> None:
    names = atom_names(ELEMENTS * 30)
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 4


def test_charges_sum_to_the_total_and_stay_symmetric() -> None:
    charges = gaff.with_exact_sum([0.301, 0.301, -0.6], 0)
    assert sum(charges) == pytest.approx(0.0, abs=1e-15)
    assert charges[0] == charges[1]
    np.testing.assert_allclose(charges, [0.301, 0.301, -0.6], atol=0.002)
    with pytest.raises(EvaluationError, match=r"formal charge \+1; antechamber's differ by -1.000"):
        gaff.with_exact_sum([0.5, -0.5], 1)


def test_parameters_that_gaff_lacks_are_refused() -> None:
    known = "ca-ca-ca-ha  1.1  180.0  2.0  Using general improper torsional angle  X- X-ca-ha, penalty score=  6.0)"
    gaff.check_complete(f"IMPROPER\n{known}\n", "gaff2")
    lacking = "c3-i -o    0.000       0.000   ATTN, need revision"
    with pytest.raises(TemplateError, match="gaff2 for all atom types; it has none for c3-i -o"):
        gaff.check_complete(f"ANGLE\n{lacking}\n", "gaff2")


def test_options_are_checked_before_any_work() -> None:
    for options, message in (
        (("gaff3", "AM1-BCC", "OBC2", None), "gaff2 or gaff; got 'gaff3'"),
        (("gaff2", "RESP", "OBC2", None), "AM1-BCC or Gasteiger; got 'RESP'"),
        (("gaff2", "AM1-BCC", "GBn2", None), "OBC2 or none; got 'GBn2'"),
        (("gaff2", "AM1-BCC", "OBC2", "bonds"), "HBonds"),
    ):
        with pytest.raises(OptionError, match=message):
            gaff.check_options(*options)  # type: ignore[arg-type]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gaff.shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingDependencyError, match=r"antechamber.*boltzflow\[ligands\]"):
        gaff.check_options("gaff2", "AM1-BCC", "OBC2", None)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(MissingDependencyError, match=r"RDKit.*boltzflow\[ligands\]"):
        bf.MolecularSystem.from_smiles("CCO")
    with pytest.raises(MissingDependencyError, match=r"RDKit.*boltzflow\[ligands\]"):
        bf.MolecularSystem.from_molfile(tmp_path / "none.sdf")


# What needs RDKit.


def test_smiles_that_cannot_be_used_are_refused() -> None:
    pytest.importorskip("rdkit")
    for smiles, message in (
        ("", "valid SMILES; got ''"),
        ("C1CC", "grammar of SMILES"),
        ("CC(C)(C)(C)C", "Explicit valence for atom # 1 C, 5"),
        ("c1cccc1", "Can't kekulize"),
        ("CC(=O)[O-].[Na+]", r"has 2: CC\(=O\)\[O-\], \[Na\+\]"),
        ("C[Se]C", r"H, C, N, O, F, P, S, Cl, Br, I\).*SE1"),
        ("*C", "elements of GAFF"),
        ("C[CH2]", "unpaired electrons at C2"),
        ("C[CH+]C", "carbanions.*C2"),
        ("FS(F)(F)(F)(F)C", "more at S1"),
        ("[2H]C", "no isotopes"),
        ("O=O", "three atoms"),
    ):
        with pytest.raises(OptionError, match=message):
            bf.MolecularSystem.from_smiles(smiles)


def test_open_stereochemistry_is_refused_with_the_isomers() -> None:
    pytest.importorskip("rdkit")
    for smiles, place, isomers in (
        ("CC(F)O", "C2", ["C[C@@H](O)F", "C[C@H](O)F"]),
        ("CC=CCl", "C2=C3", ["C/C=C/Cl", "C/C=C\\Cl"]),
        ("CC(F)/C=C/C", "C2", ["C/C=C/[C@@H](C)F", "C/C=C/[C@H](C)F"]),
    ):
        with pytest.raises(OptionError, match=f" leaves {place} open: write one of ") as refused:
            bf.MolecularSystem.from_smiles(smiles)
        assert str(refused.value).split("write one of ")[1] == ", ".join(isomers) + "."
    with pytest.raises(OptionError, match=", …"):
        bf.MolecularSystem.from_smiles("OC(F)C(O)(F)C(O)(Cl)C(F)Br")


def test_only_isomers_that_exist_are_asked_for() -> None:
    """Cumulated and cage bonds, N–H, and a nitrogen that inverts have none."""
    pytest.importorskip("rdkit")
    from boltzflow.molecules.readers.molecule import molecule_from_smiles

    for smiles in ("CN=[N+]=[N-]", "CN=C=S", "C12C3C4C1C5C2C3C45", "CC=N", "CN(F)Cl", "CC(C)=NO", "[C-]#[N+]C"):
        assert molecule_from_smiles(smiles).GetNumAtoms() > 5


def test_zwitterions_are_recognised() -> None:
    chem = pytest.importorskip("rdkit.Chem")
    for smiles, answer in (("[NH3+]CC(=O)[O-]", True), ("C[N+](=O)[O-]", False), ("CC(=O)[O-]", False), ("C", False)):
        assert gaff.is_zwitterion(chem.MolFromSmiles(smiles)) is answer


# What needs AmberTools too.


@both_isomers
@neutral_as_written
@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(("smiles", "charge"), CASES)
def test_molecules_from_smiles(smiles: str, charge: int) -> None:
    from rdkit import Chem

    from boltzflow.molecules.readers.conformers import conformer_of
    from boltzflow.molecules.readers.molecule import stereo_labels

    system = made(smiles)
    assert system.name == smiles
    assert sum(charges_of(system)) == pytest.approx(charge, abs=1e-6)
    asked = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert {frozenset(pair) for pair in system.bonds} == {
        frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in asked.GetBonds()
    }
    placed = Chem.Mol(asked)
    placed.AddConformer(conformer_of(10.0 * system.positions))
    assert stereo_labels(placed) == stereo_labels(asked)

    random = np.random.default_rng(0)
    frames = torch.tensor(system.positions + 0.01 * random.normal(size=(8, system.n_atoms, 3)))
    ours, theirs = (
        system.potential(*options[:1], **options[1]).energy_and_forces(frames)
        for options in (("torch", {"compile": False}), ("openmm", {"platform": "Reference"}))
    )
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-7)
    at_minimum = system.potential("openmm", platform="Reference").energy_and_forces(
        torch.tensor(system.positions)[None]
    )
    assert float(at_minimum[1].abs().max()) < 30.0  # kJ/mol/nm; 500 for structures as RDKit makes them

    coordinates = system.coordinates()
    assert len(coordinates.domain) == 3 * system.n_atoms - 6
    reference = torch.tensor(system.positions)[None]
    back, _ = coordinates(coordinates.inverse(reference)[0])
    torch.testing.assert_close(torch.cdist(back, back), torch.cdist(reference, reference), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("tools")
def test_equivalent_hydrogens_have_equal_charges() -> None:
    methyl = [i for i, name in enumerate(made("Cc1ccccc1O").atom_names) if name in ("MOL1-H1", "MOL1-H2", "MOL1-H3")]
    charges = np.array(charges_of(made("Cc1ccccc1O")))[methyl]
    assert np.ptp(charges) < 1e-8
    assert "MOL1-H1/MOL1-H2/MOL1-H3: 6 permutations" in str(made("Cc1ccccc1O").symmetry())


@pytest.mark.usefixtures("tools")
def test_charges_of_benzene_are_the_published_ones() -> None:
    """AM1-BCC: ±0.130 e (Jakalian et al. 2002)."""
    np.testing.assert_allclose(charges_of(made("c1ccccc1")), [-0.13] * 6 + [0.13] * 6, atol=2e-3)


@pytest.mark.usefixtures("tools")
def test_the_same_smiles_gives_the_same_system_in_other_processes() -> None:
    """With the name of the force field instead of its number, parmchk2 reads another one in half of all calls."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tests.molecules.test_ligands import made, digest; "
        "print(*(digest(made(smiles)) for smiles in sys.argv[2:]))"
    )
    root, molecules = str(Path(__file__).parents[2]), ("Cc1ccccc1O", "CS(=O)(=O)NC", "CCC[NH3+]")
    here = [digest(made(smiles)) for smiles in molecules]
    for _ in range(2):
        other = subprocess.run(
            [sys.executable, "-c", code, root, *molecules], capture_output=True, text=True, check=True, cwd=root
        )
        assert other.stdout.split() == here


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(("solvent", "igb"), [("none", 6), ("OBC2", 5)])
@pytest.mark.parametrize("smiles", ["CS(=O)(=O)NC", "CCC[NH3+]", "OC(=O)c1cc(Br)cc(I)c1Cl"])
@neutral_as_written
def test_energies_are_those_of_sander(
    solvent: gaff.LigandSolvent, igb: int, smiles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amber's own program, from Amber's own files; its Coulomb constant differs from OpenMM's by 6e-6, relative."""

    class Kept:
        def __init__(self, prefix: str) -> None: ...

        def __enter__(self) -> str:
            return str(tmp_path)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(gaff, "TemporaryDirectory", Kept)
    system = bf.MolecularSystem.from_smiles(smiles, implicit_solvent=solvent)
    flat = [f"{value:12.7f}" for value in (10.0 * (system.positions - system.positions.mean(0))).flatten()]
    rows = ["".join(flat[i : i + 6]) for i in range(0, len(flat), 6)]
    (tmp_path / "x.rst7").write_text("\n".join(["x", f"{system.n_atoms:6d}", *rows, ""]))
    (tmp_path / "in").write_text(f"x\n&cntrl imin=1, maxcyc=1, ncyc=1, ntb=0, cut=999.0, igb={igb}, gbsa=0, ntpr=1 /\n")
    sander = [gaff._program("sander"), "-O", "-i", "in", "-o", "out", "-p", "prmtop", "-c", "x.rst7"]
    subprocess.run(sander, cwd=tmp_path, check=True, capture_output=True)
    lines = (tmp_path / "out").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "NSTEP" in line) + 1
    amber = 4.184 * float(lines[first].split()[1])
    parts = app.AmberPrmtopFile(str(tmp_path / "prmtop")).createSystem(
        implicitSolvent=app.OBC2 if solvent == "OBC2" else None, gbsaModel=None, removeCMMotion=False
    )
    again = bf.MolecularSystem(system.topology, parts, system.positions)
    energy = float(again.potential("torch", compile=False).energy(torch.tensor(system.positions)[None]))
    assert energy == pytest.approx(amber, abs=0.05)  # kJ/mol


@pytest.mark.usefixtures("tools")
def test_charges_of_a_zwitterion_are_not_those_after_a_proton_has_moved() -> None:
    """AM1 in vacuum turns the zwitterion of β-alanine into the neutral acid; charges of NH₃⁺ sum to about +0.5."""
    system = bf.MolecularSystem.from_smiles("[NH3+]CCC(=O)[O-]")
    charges = dict(zip(system.atom_names, charges_of(system), strict=True))
    ammonium = sum(charges[f"MOL1-{name}"] for name in ("N1", "H1", "H2", "H3"))
    carboxylate = sum(charges[f"MOL1-{name}"] for name in ("C3", "O1", "O2"))
    assert ammonium > 0.3
    assert carboxylate < -0.5
    assert charges["MOL1-O1"] == pytest.approx(charges["MOL1-O2"], abs=1e-8)


@pytest.mark.usefixtures("tools")
def test_a_moved_proton_is_noticed(tmp_path: Path) -> None:
    from boltzflow.molecules.readers.molecule import molecule_from_smiles

    topology = topology_of(molecule_from_smiles("O"))
    for length, moved in ((0.97, False), (1.7, True)):
        rows = [(0.0, 0.0), (length, 0.0), (-0.25, 0.94)]
        lines = [f"ATOM  {i:5d}  X   MOL     1    {x:8.3f}{y:8.3f}{0.0:8.3f}" for i, (x, y) in enumerate(rows, 1)]
        (tmp_path / "sqm.pdb").write_text("\n".join(lines))
        assert gaff._rearranged(tmp_path, topology) is moved


@pytest.mark.usefixtures("tools")
def test_programs_that_fail_are_reported(tmp_path: Path) -> None:
    (tmp_path / "frcmod").write_text("of an earlier run")
    with pytest.raises(EvaluationError, match="Expected frcmod from parmchk2; it wrote none: "):
        gaff.run_program(tmp_path, "frcmod", "parmchk2", "-i", "none.mol2", "-f", "mol2", "-o", "frcmod", "-s", "2")
    (tmp_path / "sqm.out").write_text("QMMM: No convergence in SCF\n\n")
    with pytest.raises(ConvergenceError, match="did not converge: QMMM: No convergence in SCF"):
        gaff.run_program(tmp_path, "typed.mol2", "antechamber", "-i", "none.sdf", "-fi", "sdf", "-o", "typed.mol2")


@pytest.mark.usefixtures("tools")
def test_unusual_protonation_states_are_said() -> None:
    from boltzflow.molecules.readers.molecule import molecule_from_smiles

    with pytest.warns(UserWarning, match=r"formal charge \+0.*carboxylic acid at O2, aliphatic amine at N1"):
        molecule_from_smiles("NCC(=O)O")
    for silent in ("[NH3+]CC(=O)[O-]", "CC(=O)NC", "Nc1ccccc1", "Cn1ccnc1", "CS(=O)(=O)N", "CO", "N#CC", "CON"):
        molecule_from_smiles(silent)


def test_double_bonds_with_two_isomers_are_said() -> None:
    pytest.importorskip("rdkit")
    from boltzflow.molecules.readers.molecule import molecule_from_smiles

    with pytest.warns(UserWarning, match="E and Z isomers at C2=C3: "):
        molecule_from_smiles("C/C=C/C")
    molecule_from_smiles("CC=C")


@pytest.mark.usefixtures("tools")
def test_options_reach_the_system() -> None:
    wet = made("Cc1ccccc1O")
    dry = bf.MolecularSystem.from_smiles(
        "Cc1ccccc1O",
        implicit_solvent="none",
        constraints="HBonds",
        temperature=310.0,
        charges="Gasteiger",
        name="cresol",
    )
    assert (dry.name, dry.temperature) == ("cresol", 310.0)
    assert dry.openmm_system.getNumConstraints() == 8
    forces = {type(force).__name__ for force in dry.openmm_system.getForces()}
    assert "GBSAOBCForce" not in forces
    assert "GBSAOBCForce" in {type(force).__name__ for force in wet.openmm_system.getForces()}
    assert np.abs(np.subtract(charges_of(wet), charges_of(dry))).max() > 0.05
    old = bf.MolecularSystem.from_smiles("Cc1ccccc1O", forcefield="gaff")
    assert system_to_xml(old.openmm_system) != system_to_xml(wet.openmm_system)


@pytest.mark.usefixtures("tools")
def test_a_generator_samples_without_training() -> None:
    generator = bf.BoltzmannGenerator.for_system(made("Cc1ccccc1O"), preset="quick")
    ensemble = generator.sample(200, seed=0)
    assert ensemble.failed == 0
    assert np.isfinite(ensemble.energies).all()


# Files.

ALANINE_ESTER = "C[C@H]([NH3+])C(=O)OC"


@pytest.fixture
def files(tools: None, tmp_path: Path) -> Path:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    whole = Chem.AddHs(Chem.MolFromSmiles(ALANINE_ESTER))
    AllChem.EmbedMolecule(whole, randomSeed=1)
    Chem.MolToMolFile(whole, str(tmp_path / "whole.mol"))
    Chem.MolToMolFile(Chem.RemoveHs(whole), str(tmp_path / "heavy.sdf"))
    flat = Chem.RemoveHs(whole)
    AllChem.Compute2DCoords(flat)
    Chem.MolToMolFile(Chem.AddHs(flat), str(tmp_path / "flat.sdf"))
    text = (tmp_path / "whole.mol").read_text()
    (tmp_path / "one.sdf").write_text(f"{text}$$$$\n")
    (tmp_path / "two.sdf").write_text(f"{text}$$$$\n{text}$$$$\n")
    shifted = [
        f"{0.1 * float(line[:10]):10.4f}{0.1 * float(line[10:20]):10.4f}{0.1 * float(line[20:30]):10.4f}{line[30:]}"
        if 3 < i < 4 + whole.GetNumAtoms()
        else line
        for i, line in enumerate(text.splitlines())
    ]
    (tmp_path / "nm.mol").write_text("\n".join(shifted))
    for types in ("sybyl", "gaff2"):
        gaff.run_program(
            tmp_path,
            f"{types}.mol2",
            "antechamber",
            *("-i", "whole.mol", "-fi", "sdf", "-o", f"{types}.mol2", "-fo", "mol2", "-at", types, "-nc", "1"),
        )
    return tmp_path


def test_files_keep_their_positions_and_stereochemistry(files: Path) -> None:
    from rdkit import Chem

    positions = Chem.MolFromMolFile(str(files / "whole.mol"), removeHs=False).GetConformer().GetPositions() / 10
    for name, rounding in (("whole.mol", 1e-7), ("one.sdf", 1e-7), ("sybyl.mol2", 6e-5)):
        system = bf.MolecularSystem.from_molfile(files / name, charges="Gasteiger")
        assert system.name == Path(name).stem
        np.testing.assert_allclose(system.positions, positions, atol=rounding)
        assert sum(charges_of(system)) == pytest.approx(1.0, abs=1e-6)
        assert len(system.coordinates().domain) == 3 * system.n_atoms - 6
    with pytest.warns(UserWarning, match="several molecules; the first one is read"):
        bf.MolecularSystem.from_molfile(files / "two.sdf", charges="Gasteiger")


def test_a_file_and_smiles_give_the_same_parameters(files: Path) -> None:
    system = bf.MolecularSystem.from_molfile(files / "whole.mol")
    assert system_to_xml(system.openmm_system) == system_to_xml(made(ALANINE_ESTER).openmm_system)


def test_missing_hydrogens_are_refused_or_added(files: Path) -> None:
    with pytest.raises(
        OptionError, match=r"all hydrogens in .*heavy.sdf; C1, C2, N1, C4 lack some: add_hydrogens=True"
    ):
        bf.MolecularSystem.from_molfile(files / "heavy.sdf")
    system = bf.MolecularSystem.from_molfile(files / "heavy.sdf", add_hydrogens=True, charges="Gasteiger")
    assert system.n_atoms == made(ALANINE_ESTER).n_atoms
    assert float(system.potential("openmm").energy(torch.tensor(system.positions)[None])) < 500.0


def test_files_that_cannot_be_used_are_refused(files: Path) -> None:
    (files / "junk.sdf").write_text("junk\n")
    (files / "empty.mol2").write_text("")
    with pytest.raises(SystemNotFoundError, match=r"none\.sdf"):
        bf.MolecularSystem.from_molfile(files / "none.sdf")
    for name, message in (
        ("junk.sdf", "Expected an SDF, MOL or MOL2 file"),
        ("empty.mol2", "Expected an SDF, MOL or MOL2 file"),
        ("gaff2.mol2", "SYBYL"),
        ("flat.sdf", "three-dimensional"),
        ("nm.mol", "nm and Å"),
    ):
        with pytest.raises(FileFormatError, match=message):
            bf.MolecularSystem.from_molfile(files / name)


@pytest.mark.usefixtures("tools")
def test_another_isomer_after_minimisation_is_refused() -> None:
    from boltzflow.molecules.readers.conformers import conformers
    from boltzflow.molecules.readers.ligand import check_isomer
    from boltzflow.molecules.readers.molecule import molecule_from_smiles

    right, mirrored = molecule_from_smiles("C[C@H](O)F"), molecule_from_smiles("C[C@@H](O)F")
    check_isomer(right, 10 * conformers(right)[0], "C[C@H](O)F")
    with pytest.raises(TopologyError, match=r"C\[C@H\]\(O\)F; .* at C2"):
        check_isomer(right, 10 * conformers(mirrored)[0], "C[C@H](O)F")
