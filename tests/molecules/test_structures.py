"""What structure files hold beside one place of each atom, and positions that belong to other atoms."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch
from numpy.typing import NDArray
from openmm import app

import boltzflow as bf
from boltzflow.errors import FileFormatError, ShapeError, TemplateError, TopologyError, UnsupportedForceError
from boltzflow.molecules import available_systems
from boltzflow.molecules.readers.fit import check_positions, check_structure
from boltzflow.molecules.readers.structures import read_structure

from .test_readers import amber_files, charmm_files, gromacs_files

# OpenMM's reader of GROMACS files leaves them open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")

WATER = np.array([[0.0, 0.0, 0.0], [0.957, 0.0, 0.0], [-0.24, 0.927, 0.0]])  # Å
DIPEPTIDE = available_systems()["alanine_dipeptide"] / "topology.pdb"
LINES = [line for line in DIPEPTIDE.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
FIELD = "amber96.xml"

Atom = tuple[int, str, str, str, str, float, float]
"""Number of the residue, its name, the atom's name, its location, chain, occupancy, and shift along x in Å."""


def waters(numbers: Sequence[int], apart: float = 3.0) -> list[Atom]:
    return [
        (number, "HOH", name, "", "A", 1.0, apart * k) for k, number in enumerate(numbers) for name in ("O", "H1", "H2")
    ]


def place(atom: Atom) -> NDArray[np.float64]:
    x: NDArray[np.float64] = WATER[("O", "H1", "H2").index(atom[2])] + [atom[6], 0.0, 0.0]
    return x


def pdb(atoms: Sequence[Atom], path: Path) -> Path:
    lines = []
    for i, atom in enumerate(atoms, 1):
        number, residue, name, location, chain, occupancy, _ = atom
        x = "".join(f"{value:8.3f}" for value in place(atom))
        lines.append(
            f"ATOM  {i:5d}  {name:<3s}{location:1s}{residue:<4s}{chain}{number:4d}    {x}{occupancy:6.2f}  0.00"
            f"          {name[0]:>2s}"
        )
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def mmcif(atoms: Sequence[Atom], path: Path) -> Path:
    columns = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id Cartn_x "
    columns += "Cartn_y Cartn_z occupancy auth_seq_id auth_comp_id auth_asym_id auth_atom_id pdbx_PDB_model_num"
    rows = []
    for i, atom in enumerate(atoms, 1):
        number, residue, name, location, chain, occupancy, _ = atom
        x = " ".join(f"{value:.3f}" for value in place(atom))
        rows.append(
            f"HETATM {i} {name[0]} {name} {location or '.'} {residue} {chain} . {x} {occupancy} {number} {residue} "
            f"{chain} {name} 1"
        )
    head = ["data_x", "loop_", *(f"_atom_site.{column}" for column in columns.split())]
    path.write_text("\n".join([*head, *rows, "#", ""]))
    return path


READERS = [(pdb, bf.MolecularSystem.from_pdb), (mmcif, bf.MolecularSystem.from_mmcif)]
Write = Callable[[Sequence[Atom], Path], Path]
Read = Callable[..., bf.MolecularSystem]


@pytest.mark.parametrize(("write", "read"), READERS)
@pytest.mark.parametrize("numbers", [(1, 1), (1, 1, 1, 2), (2, 2, 1), (7, 8, 9)])
def test_waters_that_share_a_number_are_all_read(
    tmp_path: Path, write: Write, read: Read, numbers: tuple[int, ...]
) -> None:
    atoms = waters(numbers)
    system = read(write(atoms, tmp_path / "x"), "amber14/tip3p.xml")
    assert system.n_atoms == 3 * len(numbers)
    assert len(set(system.atom_names)) == system.n_atoms
    np.testing.assert_allclose(10 * system.positions, [place(atom) for atom in atoms], atol=1e-5)
    assert len(system.bonds) == 2 * len(numbers)


def test_an_mmcif_file_without_a_column_of_locations_is_read_whole(tmp_path: Path) -> None:
    """OpenMM takes the last column for it, and leaves out every water but the first of a chain."""
    path = mmcif(waters((1, 2)), tmp_path / "x.cif")
    text = path.read_text().replace("_atom_site.label_alt_id\n", "")
    path.write_text(re.sub(r"^(HETATM \d+ \w+ \w+) \. ", r"\1 ", text, flags=re.MULTILINE))
    assert bf.MolecularSystem.from_mmcif(path, "amber14/tip3p.xml").n_atoms == 6


@pytest.mark.parametrize(("write", "read"), READERS)
@pytest.mark.parametrize("first", [0.3, 0.5, 0.7])
def test_the_most_occupied_location_is_read(tmp_path: Path, write: Write, read: Read, first: float) -> None:
    """The second of two waters has two places, in either order of the records."""
    one, other = waters((1, 2))[:3], waters((1, 2))[3:]
    a = [(*atom[:3], "A", "A", first, atom[6]) for atom in other]
    b = [(*atom[:3], "B", "A", 1 - first, 6.0) for atom in other]
    shift = 6.0 if first < 0.5 else 3.0
    for located in ([*a, *b], [atom for pair in zip(a, b, strict=True) for atom in pair]):
        with pytest.warns(UserWarning, match=rf"is read for each residue: HOH 2: {'B' if first < 0.5 else 'A'}"):
            system = read(write([*one, *located], tmp_path / "x"), "amber14/tip3p.xml")
        expected = [place((*atom[:6], shift)) for atom in other]
        np.testing.assert_allclose(10 * system.positions[3:], expected, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(write([*one, *a], tmp_path / "x"), "amber14/tip3p.xml").n_atoms == 6  # one location alone


def test_the_residue_of_the_most_occupied_location_is_read(tmp_path: Path) -> None:
    """Another residue at the same place: a point mutation."""
    lines = []
    for line in LINES:
        if line[17:20] == "ALA":
            lines.append(f"{line[:16]}A{line[17:54]}  0.60{line[60:]}")
            if line[12:16].strip() in ("N", "CA", "C", "O"):
                lines.append(f"{line[:16]}BGLY{line[20:54]}  0.40{line[60:]}")
        else:
            lines.append(line)
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match="ALA 2: A, occupancy 0.6"):
        found = read_structure(tmp_path / "x.pdb", "PDB")
    assert [residue.name for residue in found.topology.residues()] == ["ACE", "ALA", "NME"]
    assert found.topology.getNumAtoms() == 22


@pytest.mark.parametrize("between", ["ENDMDL\nMODEL        2", "END", "ENDMDL"])
def test_further_models_are_told(tmp_path: Path, between: str) -> None:
    other = [f"{line[:30]}{9.0:8.3f}{line[38:]}" for line in LINES]
    (tmp_path / "x.pdb").write_text("\n".join(["MODEL        1", *LINES, between, *other, "ENDMDL", "END"]))
    with pytest.warns(UserWarning, match=r"x\.pdb contains 2 models; the first one is read"):
        system = bf.MolecularSystem.from_pdb(tmp_path / "x.pdb", FIELD)
    reference = bf.MolecularSystem.from_pdb(DIPEPTIDE, FIELD)
    np.testing.assert_allclose(system.positions, reference.positions, atol=1e-6)
    assert sorted(map(sorted, system.bonds)) == sorted(map(sorted, reference.bonds))


@pytest.mark.parametrize("name", ["H1", "H2"])
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    lines = [line.replace(f" {name}  ACE", " H3  ACE") for line in LINES]
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    with pytest.raises(FileFormatError, match=r"H3 appears twice in ACE 1 of .*x\.pdb"):
        bf.MolecularSystem.from_pdb(tmp_path / "x.pdb", FIELD)


def test_positions_in_nanometres_are_refused(tmp_path: Path) -> None:
    for factor, said in ((0.1, "0.1"), (10.0, "10")):
        lines = [
            line[:30] + "".join(f"{factor * float(line[a : a + 8]):8.3f}" for a in (30, 38, 46)) + line[54:]
            for line in LINES
        ]
        (tmp_path / "x.pdb").write_text("\n".join(lines))
        with pytest.raises(FileFormatError, match=rf"x\.pdb.*{said} times as long as usual"):
            bf.MolecularSystem.from_pdb(tmp_path / "x.pdb", FIELD)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda line: None if line[12:16] == " HA " else line,
            "missing atoms HA. Add the hydrogens: --hydr",
        ),
        (lambda line: None if line[12:16] == " CB " else line, "missing atoms CB. Add missing atoms"),
        (lambda line: f"{line}\n{line[:12]} HX {line[16:]}" if " HA " in line else line, "extra atoms HX. Name the re"),
        (lambda line: None if "NME" in line else line, "but different bonds.* Add its bonds to the file"),
        (lambda line: f"{line[:17]}    {line[21:]}", "residue without a name, 1 .* Set the residue name in the file"),
        (lambda line: f"{line[:17]}  N {line[21:]}", "residue N 1 .*or any residue of that name"),
        (
            lambda line: f"{line[:30]}{9:8.3f}{line[38:]}" if " HA " in line else line,
            "ALA2-CA and ALA2-HA are .* nm apart .* misplaced",
        ),
    ],
)
def test_advice_fits_the_fault(tmp_path: Path, edit: Callable[[str], str | None], message: str) -> None:
    lines = [edited for line in LINES if (edited := edit(line)) is not None]
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    with pytest.raises((TemplateError, TopologyError), match=message) as error:
        bf.MolecularSystem.from_pdb(tmp_path / "x.pdb", FIELD)
    assert ("hydrogens_at_ph" in str(error.value)) == ("hydrogens" in message)


def test_a_template_may_come_from_a_patch(tmp_path: Path) -> None:
    """As of CHARMM36's charged ends, on a small scale: hydroxide, of which a patch makes water."""
    path = tmp_path / "patched.xml"
    path.write_text(
        """<ForceField>
        <AtomTypes>
          <Type name="O" class="O" element="O" mass="16"/><Type name="H" class="H" element="H" mass="1"/>
        </AtomTypes>
        <Residues><Residue name="HOH">
          <Atom name="O" type="O"/><Atom name="H1" type="H"/><Bond atomName1="O" atomName2="H1"/>
          <AllowPatch name="ACID"/>
        </Residue></Residues>
        <Patches><Patch name="ACID">
          <AddAtom name="H2" type="H"/><AddBond atomName1="O" atomName2="H2"/>
        </Patch></Patches>
        </ForceField>"""
    )
    system = bf.MolecularSystem.from_pdb(pdb(waters((1,)), tmp_path / "x.pdb"), path)
    assert system.n_atoms == 3
    atoms = [atom for atom in waters((1, 2)) if atom[:3] != (2, "HOH", "O")]
    with pytest.raises(
        TemplateError, match=r"for residue HOH 2 .*with the template HOH with ACID, it has missing atoms O\."
    ):
        bf.MolecularSystem.from_pdb(pdb(atoms, tmp_path / "x.pdb"), path)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["charmm36.xml", "charmm36_2024.xml"])
def test_charged_ends_of_charmm36(field: str) -> None:
    path = available_systems()["chignolin"] / "topology.pdb"
    system = bf.MolecularSystem.from_pdb(path, field)
    expected = app.ForceField(field).createSystem(
        app.PDBFile(str(path)).topology, removeCMMotion=False, rigidWater=False
    )
    x = torch.tensor(system.positions)[None]
    plain = bf.MolecularSystem(system.topology, expected, system.positions)
    energies = [float(one.potential("openmm", platform="Reference").energy(x)) for one in (system, plain)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)


def test_atoms_that_coincide_are_named(tmp_path: Path) -> None:
    system = bf.MolecularSystem.from_pdb(pdb(waters((1, 2), apart=0.0), tmp_path / "x.pdb"), "amber14/tip3p.xml")
    with pytest.raises(TopologyError, match=r"finite energy .* HOH1-\w+ and HOH2-\w+, are 0 nm apart"):
        system.coordinates()
    lines = [line[:30] + LINES[8][30:54] + line[54:] if " HA " in line else line for line in LINES]
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    with pytest.raises(TopologyError, match=r"ALA2-CA and ALA2-HA are 0\.00 nm apart.*coincide"):
        bf.MolecularSystem.from_pdb(tmp_path / "x.pdb", FIELD)


# -- positions of another file ---------------------------------------------------------------------

ORDERS = list(itertools.permutations(range(3)))


def permuted(path: Path, order: Sequence[int], is_atom: Callable[[str], bool]) -> None:
    lines = path.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if is_atom(line)]
    moved = [lines[places[i]] for i in order]
    for i, line in zip(places, moved, strict=True):
        lines[i] = line
    path.write_text("\n".join([*lines, ""]))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["gromacs", "charmm"])
def test_another_order_of_names_is_refused(tmp_path: Path, kind: str, order: tuple[int, ...]) -> None:
    make: Callable[[], bf.MolecularSystem]
    if kind == "gromacs":
        top, gro = gromacs_files(tmp_path)
        permuted(gro, order, lambda line: line[5:8] == "WAT")
        make = partial(bf.MolecularSystem.from_gromacs, top, gro)
    else:
        psf, pdb, parameters = charmm_files(tmp_path)
        permuted(pdb, order, lambda line: line.startswith("ATOM"))
        make = partial(bf.MolecularSystem.from_charmm, psf, pdb, parameters)
    if order == (0, 1, 2):
        assert make().n_atoms == 3
        return
    first = next(i for i in range(3) if order[i] != i)
    with pytest.raises(TopologyError, match=rf"same order of atoms in .*; atom {first + 1} is HOH.-.* in the first"):
        make()


@pytest.mark.parametrize("order", ORDERS)
def test_another_order_without_names_is_seen_by_the_bonds(tmp_path: Path, order: tuple[int, ...]) -> None:
    prmtop, inpcrd = amber_files(tmp_path)
    lines = inpcrd.read_text().splitlines()
    numbers = "".join(lines[2:])
    cells = [numbers[36 * i : 36 * (i + 1)] for i in order]
    inpcrd.write_text("\n".join([*lines[:2], "".join(cells)[:72], "".join(cells)[72:], ""]))
    if order[0] == 0:  # which hydrogen is which nothing says
        assert bf.MolecularSystem.from_amber(prmtop, inpcrd).n_atoms == 3
        return
    with pytest.raises(TopologyError, match=r"nm apart in .*water\.inpcrd: its order of atoms differs from .*prmtop"):
        bf.MolecularSystem.from_amber(prmtop, inpcrd)


def test_any_exchange_of_two_atoms_is_seen_by_the_bonds() -> None:
    """But for those of atoms with the same neighbours, which no bond tells apart."""
    system = bf.MolecularSystem.from_pdb(DIPEPTIDE, FIELD)
    check_positions(system.topology, system.positions * u.nanometer, None, "a", "b")
    neighbours = system.bond_graph.neighbours
    for i, j in itertools.combinations(range(22), 2):
        positions = system.positions
        positions[[i, j]] = positions[[j, i]]
        if neighbours[i] == neighbours[j]:
            continue
        with pytest.raises(TopologyError, match="nm apart in b"):
            check_positions(system.topology, positions * u.nanometer, None, "a", "b")


def test_names_tell_every_other_order_of_a_peptide() -> None:
    """Names of another convention are no other order, those of another molecule are refused."""
    system = bf.MolecularSystem.from_pdb(DIPEPTIDE, FIELD)
    x = system.positions * u.nanometer
    names = [(atom.residue.name, atom.name) for atom in system.topology.atoms()]
    check_positions(system.topology, x, names, "a", "b")
    check_positions(system.topology, x, [("UNK", f"{name[0]}{i}") for i, (_, name) in enumerate(names)], "a", "b")
    check_positions(system.topology, x, [(residue, {"H": "HN"}.get(name, name)) for residue, name in names], "a", "b")
    for i, j in itertools.combinations(range(22), 2):
        other = list(names)
        other[i], other[j] = other[j], other[i]
        if other == names:
            continue
        with pytest.raises(TopologyError, match=f"same order of atoms in a and b; atom {i + 1} is"):
            check_positions(system.topology, x, other, "a", "b")
    with pytest.raises(ShapeError, match="positions of the 22 atoms of a; b has 21"):
        check_positions(system.topology, x[:21], names[:21], "a", "b")
    check_structure(system.topology, x, "a")


def without_parameters(top: Path) -> None:
    lines = top.read_text().splitlines()
    bare = [" ".join(line.split()[:3]) if line.startswith(("1 2 1", "1 3 1")) else line for line in lines]
    top.write_text("\n".join([*bare, ""]))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_openmm_cannot_use_is_one_sentence(tmp_path: Path) -> None:
    """Radii beyond the tables of GBn2, 10-12 terms, AMOEBA's prmtop; a top without parameters."""
    prmtop, inpcrd = amber_files(tmp_path)
    message = r"^Expected Amber parameters that OpenMM can use in .*water\.prmtop; reading it failed: .*\.$"
    replace(prmtop, "  1.50000000E+00  1.20000000E+00", "  9.50000000E+00  1.20000000E+00")
    with pytest.raises(FileFormatError, match=message):
        bf.MolecularSystem.from_amber(prmtop, inpcrd, implicit_solvent="GBn2")
    prmtop, inpcrd = amber_files(tmp_path)
    replace(prmtop, f"{1:8d}{2:8d}{2:8d}{3:8d}", f"{1:8d}{-1:8d}{-1:8d}{3:8d}")
    for name, value in (("ACOEF", 7500.0), ("BCOEF", 2300.0)):
        head = f"%FLAG HBOND_{name}\n%FORMAT(5E16.8)\n"
        replace(prmtop, head, f"{head}{value:16.8E}")
    with pytest.raises(FileFormatError, match=message):
        bf.MolecularSystem.from_amber(prmtop, inpcrd)
    top, gro = gromacs_files(tmp_path)
    without_parameters(top)
    with pytest.raises(FileFormatError, match=r"^Expected GROMACS parameters that OpenMM can use in .*: .*\.$"):
        bf.MolecularSystem.from_gromacs(top, gro)


def test_a_term_that_openmm_refuses_is_one_sentence() -> None:
    """A torsion of periodicity 0."""
    system = bf.MolecularSystem.from_pdb(DIPEPTIDE, FIELD)
    hamiltonian = system.openmm_system
    torsions = openmm.PeriodicTorsionForce()
    torsions.addTorsion(0, 1, 4, 5, 0, 0.0, 1.0)
    hamiltonian.addForce(torsions)
    wrong = bf.MolecularSystem(system.topology, hamiltonian, system.positions)
    with pytest.raises(UnsupportedForceError, match=r"a System that OpenMM can evaluate; got: .*periodicity"):
        wrong.coordinates()
