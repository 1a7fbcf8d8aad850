"""Molecules from files of other programs: one water in each format has one energy, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.errors import (
    FileFormatError,
    MissingDependencyError,
    OptionError,
    SystemNotFoundError,
    TemplateError,
    TopologyError,
)
from boltzflow.molecules import available_systems
from boltzflow.molecules.readers.sequence import LETTERS

# OpenMM's reader of GROMACS files leaves them open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")

BOND, LENGTH = 450.0, 0.9572  # kcal/mol/Å², k (b − b₀)²; Å
ANGLE, DEGREES = 55.0, 104.52  # kcal/mol/rad²
X = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-0.3, 0.9, 0.0]])  # Å
HYDROGENS = ["HN", "H"]


def exact_energy() -> float:
    """In kJ/mol, of bonds and the angle: in one water nothing else is counted."""
    arms = X[1:] - X[0]
    lengths = np.linalg.norm(arms, axis=1)
    angle = math.acos(arms[0] @ arms[1] / lengths.prod())
    return 4.184 * (BOND * ((lengths - LENGTH) ** 2).sum() + ANGLE * (angle - math.radians(DEGREES)) ** 2)


def amber_files(folder: Path) -> tuple[Path, Path]:
    sections: list[tuple[str, str, Sequence[object]]] = [
        ("TITLE", "20a4", ["water"]),
        ("POINTERS", "10I8", [3, 2, 2, 0, 1, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 1, 1, 0, 2, 0, *[0] * 8, 3, 0, 0]),
        ("ATOM_NAME", "20a4", ["O", "H1", "H2"]),
        ("CHARGE", "5E16.8", [q * 18.2223 for q in (-0.834, 0.417, 0.417)]),
        ("ATOMIC_NUMBER", "10I8", [8, 1, 1]),
        ("MASS", "5E16.8", [16.0, 1.008, 1.008]),
        ("ATOM_TYPE_INDEX", "10I8", [1, 2, 2]),
        ("NUMBER_EXCLUDED_ATOMS", "10I8", [2, 1, 1]),
        ("NONBONDED_PARM_INDEX", "10I8", [1, 2, 2, 3]),
        ("RESIDUE_LABEL", "20a4", ["WAT"]),
        ("RESIDUE_POINTER", "10I8", [1]),
        ("BOND_FORCE_CONSTANT", "5E16.8", [BOND]),
        ("BOND_EQUIL_VALUE", "5E16.8", [LENGTH]),
        ("ANGLE_FORCE_CONSTANT", "5E16.8", [ANGLE]),
        ("ANGLE_EQUIL_VALUE", "5E16.8", [math.radians(DEGREES)]),
        *((name, "5E16.8", []) for name in ("DIHEDRAL_FORCE_CONSTANT", "DIHEDRAL_PERIODICITY", "DIHEDRAL_PHASE")),
        ("SCEE_SCALE_FACTOR", "5E16.8", []),
        ("SCNB_SCALE_FACTOR", "5E16.8", []),
        ("SOLTY", "5E16.8", [0.0, 0.0]),
        ("LENNARD_JONES_ACOEF", "5E16.8", [581935.0, 0.0, 0.0]),
        ("LENNARD_JONES_BCOEF", "5E16.8", [594.825, 0.0, 0.0]),
        ("BONDS_INC_HYDROGEN", "10I8", [0, 3, 1, 0, 6, 1]),
        ("BONDS_WITHOUT_HYDROGEN", "10I8", []),
        ("ANGLES_INC_HYDROGEN", "10I8", [3, 0, 6, 1]),
        *((name, "10I8", []) for name in ("ANGLES_WITHOUT_HYDROGEN", "DIHEDRALS_INC_HYDROGEN")),
        ("DIHEDRALS_WITHOUT_HYDROGEN", "10I8", []),
        ("EXCLUDED_ATOMS_LIST", "10I8", [2, 3, 3, 0]),
        *((name, "5E16.8", []) for name in ("HBOND_ACOEF", "HBOND_BCOEF", "HBCUT")),
        ("AMBER_ATOM_TYPE", "20a4", ["OW", "HW", "HW"]),
        ("TREE_CHAIN_CLASSIFICATION", "20a4", ["BLA"] * 3),
        ("JOIN_ARRAY", "10I8", [0] * 3),
        ("IROTAT", "10I8", [0] * 3),
        ("RADIUS_SET", "1a80", ["H(N)-modified Bondi radii (mbondi2)"]),
        ("RADII", "5E16.8", [1.5, 1.2, 1.2]),
        ("SCREEN", "5E16.8", [0.85, 0.85, 0.85]),
    ]
    lines = ["%VERSION  VERSION_STAMP = V0001.000  DATE = 01/01/24  00:00:00"]
    for name, form, values in sections:
        lines += [f"%FLAG {name}", f"%FORMAT({form})"]
        count, width = {"20a4": (20, 4), "10I8": (10, 8), "5E16.8": (5, 16), "1a80": (1, 80)}[form]
        cells = [f"{v:16.8E}" if form == "5E16.8" else f"{v:<{width}}" if "a" in form else f"{v:8d}" for v in values]
        lines += ["".join(cells[i : i + count]) for i in range(0, len(cells), count)] or [""]
    prmtop, inpcrd = folder / "water.prmtop", folder / "water.inpcrd"
    prmtop.write_text("\n".join(lines) + "\n")
    flat = [f"{value:12.7f}" for value in X.flatten()]
    inpcrd.write_text("water\n    3\n" + "".join(flat[:6]) + "\n" + "".join(flat[6:]) + "\n")
    return prmtop, inpcrd


def gromacs_files(folder: Path) -> tuple[Path, Path]:
    top, gro = folder / "water.top", folder / "water.gro"
    k_bond, k_angle = 2 * 4.184 * 100 * BOND, 2 * 4.184 * ANGLE
    (folder / "types.itp").write_text("[ atomtypes ]\nOW 8 16.0 0.0 A 0.315061 0.6364\nHW 1 1.008 0.0 A 0.0 0.0\n")
    top.write_text(
        f"""[ defaults ]
1 2 yes 0.5 0.8333
#include "types.itp"
[ moleculetype ]
WAT 2
[ atoms ]
1 OW 1 WAT O  1 -0.834 16.0
2 HW 1 WAT H1 1 0.417 1.008
3 HW 1 WAT H2 1 0.417 1.008
[ bonds ]
1 2 1 {LENGTH / 10} {k_bond}
1 3 1 {LENGTH / 10} {k_bond}
[ angles ]
2 1 3 1 {DEGREES} {k_angle}
[ system ]
water
[ molecules ]
WAT 1
"""
    )
    atoms = [
        f"{1:5d}{'WAT':<5s}{name:>5s}{i:5d}" + "".join(f"{value / 10:8.3f}" for value in x)
        for i, (name, x) in enumerate(zip(("O", "H1", "H2"), X, strict=True), 1)
    ]
    gro.write_text("\n".join(["water", "3", *atoms, "   0.0   0.0   0.0", ""]))
    return top, gro


def charmm_files(folder: Path) -> tuple[Path, Path, list[Path]]:
    psf, pdb, prm = folder / "water.psf", folder / "water.pdb", folder / "water.prm"
    atoms = [
        f"{i:8d} W    1    WAT  {name:<4s} {kind:<4s} {charge:10.6f} {mass:13.4f} {0:11d}"
        for i, (name, kind, charge, mass) in enumerate(
            [("O", "OT", -0.834, 16.0), ("H1", "HT", 0.417, 1.008), ("H2", "HT", 0.417, 1.008)], 1
        )
    ]
    empty = ["!NPHI: dihedrals", "!NIMPHI: impropers", "!NDON: donors", "!NACC: acceptors", "!NNB"]
    lines = ["PSF", "", f"{1:8d} !NTITLE", " REMARKS water", "", f"{3:8d} !NATOM", *atoms, ""]
    lines += [f"{2:8d} !NBOND: bonds", "".join(f"{i:8d}" for i in (1, 2, 1, 3)), ""]
    lines += [f"{1:8d} !NTHETA: angles", "".join(f"{i:8d}" for i in (2, 1, 3)), ""]
    for name in empty:
        lines += [f"{0:8d} {name}", "", ""]
    lines[-1:] = [
        f"{0:8d}{0:8d}{0:8d}",
        "",
        f"{1:8d}{0:8d} !NGRP",
        f"{0:8d}{0:8d}{0:8d}",
        "",
        f"{0:8d} !NCRTERM",
        "",
        "",
    ]
    psf.write_text("\n".join(lines))
    prm.write_text(
        f"""* water
*
ATOMS
MASS 1 OT 16.0 O
MASS 2 HT 1.008 H

BONDS
OT HT {BOND} {LENGTH}

ANGLES
HT OT HT {ANGLE} {DEGREES}

NONBONDED nbxmod 5 atom cdiel shift vatom vdistance vswitch -
cutnb 14.0 ctofnb 12.0 ctonnb 10.0 eps 1.0 e14fac 1.0 wmin 1.5
OT 0.0 -0.1521 1.7682
HT 0.0 -0.0460 0.2245

END
"""
    )
    rows = [
        f"ATOM  {i:5d}  {name:<3s} WAT A   1    {x[0]:8.3f}{x[1]:8.3f}{x[2]:8.3f}  1.00  0.00          {name[0]:>2s}"
        for i, (name, x) in enumerate(zip(("O", "H1", "H2"), X, strict=True), 1)
    ]
    pdb.write_text("\n".join([*rows, "END", ""]))
    return psf, pdb, [prm]


def read(kind: str, folder: Path) -> bf.MolecularSystem:
    if kind == "amber":
        return bf.MolecularSystem.from_amber(*amber_files(folder))
    if kind == "gromacs":
        return bf.MolecularSystem.from_gromacs(*gromacs_files(folder))
    return bf.MolecularSystem.from_charmm(*charmm_files(folder))


@pytest.mark.parametrize("kind", ["amber", "gromacs", "charmm"])
def test_every_format_gives_the_energy_worked_out_by_hand(kind: str, tmp_path: Path) -> None:
    system = read(kind, tmp_path)
    assert system.name == "water"
    assert sorted(map(sorted, system.bonds)) == [[0, 1], [0, 2]]
    np.testing.assert_allclose(system.positions, X / 10, atol=1e-6)
    for backend in ("torch", "openmm"):
        potential = system.potential(backend)
        energy = float(potential.energy(torch.tensor(system.positions)[None]))
        assert energy == pytest.approx(exact_energy(), rel=2e-4)
    assert len(system.coordinates().domain) == 3


def test_solvent_and_constraints_come_with_options(tmp_path: Path) -> None:
    files = amber_files(tmp_path)
    dry = bf.MolecularSystem.from_amber(*files)
    wet = bf.MolecularSystem.from_amber(*files, implicit_solvent="OBC2", constraints="HBonds", temperature=310.0)
    assert wet.temperature == 310.0
    assert wet.openmm_system.getNumConstraints() >= 2
    x = torch.tensor(dry.positions)[None]
    assert float(wet.potential("openmm").energy(x)) < float(dry.potential("openmm").energy(x)) - 10.0
    with pytest.raises(OptionError, match="OBC1"):
        bf.MolecularSystem.from_amber(*files, implicit_solvent="water")
    with pytest.raises(OptionError, match="HBonds"):
        bf.MolecularSystem.from_gromacs(*gromacs_files(tmp_path), constraints="bonds")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    prmtop, inpcrd = amber_files(tmp_path)
    with pytest.raises(SystemNotFoundError, match=r"none\.inpcrd"):
        bf.MolecularSystem.from_amber(prmtop, tmp_path / "none.inpcrd")
    prmtop.write_text(prmtop.read_text()[:500])
    with pytest.raises(FileFormatError, match="prmtop"):
        bf.MolecularSystem.from_amber(prmtop, inpcrd)
    psf, pdb, parameters = charmm_files(tmp_path)
    parameters[0].write_text(parameters[0].read_text().replace("OT HT 4", "OT XX 4"))
    with pytest.raises(FileFormatError, match="CHARMM parameters that fit"):
        bf.MolecularSystem.from_charmm(psf, pdb, parameters)


FIELD = ["amber14/protein.ff14SB.xml", "implicit/obc2.xml"]
PEPTIDE = available_systems()["chignolin"] / "topology.pdb"


def test_mmcif_and_pdb_agree(tmp_path: Path) -> None:
    system = bf.MolecularSystem.from_pdb(PEPTIDE, FIELD)
    with (tmp_path / "peptide.cif").open("w") as file:
        app.PDBxFile.writeFile(system.topology, system.positions * u.nanometer, file)
    again = bf.MolecularSystem.from_mmcif(tmp_path / "peptide.cif", FIELD)
    assert again.atom_names == system.atom_names
    np.testing.assert_allclose(again.positions, system.positions, atol=1e-4)


def test_hydrogens_are_added_and_always_the_same(tmp_path: Path) -> None:
    lines = [line for line in PEPTIDE.read_text().splitlines() if line[76:78].strip() != "H" and "CONECT" not in line]
    (tmp_path / "heavy.pdb").write_text("\n".join(lines))
    with pytest.raises(TemplateError, match="hydrogens_at_ph"):
        bf.MolecularSystem.from_pdb(tmp_path / "heavy.pdb", FIELD)
    acidic, neutral = (
        bf.MolecularSystem.from_pdb(tmp_path / "heavy.pdb", FIELD, hydrogens_at_ph=ph) for ph in (2.0, 7.0)
    )
    assert acidic.n_atoms == neutral.n_atoms + 2  # of aspartate and glutamate
    again = bf.MolecularSystem.from_pdb(tmp_path / "heavy.pdb", FIELD, hydrogens_at_ph=7.0)
    assert np.array_equal(neutral.positions, again.positions)


def test_a_gap_in_the_chain_is_refused(tmp_path: Path) -> None:
    lines = []
    for line in PEPTIDE.read_text().splitlines():
        moved = line.startswith(("ATOM", "HETATM")) and int(line[22:26]) > 8
        lines.append(f"{line[:30]}{float(line[30:38]) + 9:8.3f}{line[38:]}" if moved else line)
    (tmp_path / "gap.pdb").write_text("\n".join(lines))
    with pytest.raises(TopologyError, match=r"THR8-C and TRP9-N are .* nm apart"):
        bf.MolecularSystem.from_pdb(tmp_path / "gap.pdb", FIELD)


def test_missing_bonds_are_added_with_a_warning() -> None:
    system = bf.MolecularSystem.from_pdb(PEPTIDE, FIELD)
    bare = app.Topology()
    residue = bare.addResidue("PEP", bare.addChain())
    for atom in system.topology.atoms():
        bare.addAtom(f"{atom.name}{atom.index}", atom.element, residue)
    expected = {frozenset(pair) for pair in system.bonds}
    with pytest.warns(UserWarning, match=f"Added {len(expected)} bonds missing from the topology"):
        found = bf.MolecularSystem(bare, system.openmm_system, system.positions)
    assert {frozenset(pair) for pair in found.bonds} == expected
    masses = openmm.System()  # no terms: distances alone
    for atom in bare.atoms():
        masses.addParticle(atom.element.mass)
    with pytest.warns(UserWarning, match="bonds missing from the topology"):
        found = bf.MolecularSystem(bare, masses, system.positions)
    assert {frozenset(pair) for pair in found.bonds} == expected


def test_peptides_from_their_sequence() -> None:
    pytest.importorskip("PeptideBuilder")
    system = bf.MolecularSystem.from_sequence("AWK", temperature=310.0)
    names = [residue.name for residue in system.topology.residues()]
    assert names == ["ACE", "ALA", "TRP", "LYS", "NME"]
    assert (system.name, system.temperature) == ("AWK", 310.0)
    potential = system.potential("torch", compile=False)
    assert float(potential.energy(torch.tensor(system.positions)[None])) < 0
    # From their energies and their bonds no residue is worse than those of a structure that was built by others.
    assert len(system.coordinates().domain) == 3 * system.n_atoms - 6
    again = bf.MolecularSystem.from_sequence("AWK", temperature=310.0)
    assert np.array_equal(system.positions, again.positions)
    ends = bf.MolecularSystem.from_sequence("GA", caps=False)
    assert [residue.name for residue in ends.topology.residues()] == ["GLY", "ALA"]


def test_sequences_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="empty"):
        bf.MolecularSystem.from_sequence("")
    with pytest.raises(OptionError, match=f"{LETTERS}.*'B' at position 2"):
        bf.MolecularSystem.from_sequence("ABA")
    monkeypatch.setitem(__import__("sys").modules, "PeptideBuilder", None)
    with pytest.raises(MissingDependencyError, match=r"boltzflow\[sequence\]"):
        bf.MolecularSystem.from_sequence("AA")
