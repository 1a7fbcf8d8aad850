"""Each system of the library is what its README says: atoms, torsions, energy, handedness, a minimum."""

import re
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import openmm.unit as u
import pytest
import torch

import boltzflow as bf
from boltzflow.analysis import inverted_chirality

ROOT = Path(__file__).parents[2]
SIZES = {  # atoms, constraints
    "alanine_dipeptide": (22, 0),
    "alanine_dipeptide_vacuum": (22, 0),
    "ala3": (42, 22),
    "ala5": (62, 32),
    "butane": (14, 0),
    "chignolin": (166, 73),
    "cyclohexane": (18, 0),
    "elil": (75, 41),
}
PEPTIDE_BONDS = {
    "alanine_dipeptide": 2,
    "alanine_dipeptide_vacuum": 2,
    "ala3": 4,
    "ala5": 6,
    "butane": 0,
    "chignolin": 9,
    "cyclohexane": 0,
    "elil": 3,
}


@pytest.fixture(scope="module", params=sorted(SIZES))
def system(request):
    return bf.load_system(request.param)


@pytest.fixture(scope="module")
def readme(system):
    return (ROOT / "systems" / system.name / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def context(system):
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system.openmm_system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(system.positions)
    return context


def energy(context):
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(u.kilojoule_per_mole)


def number(text):
    return float(text.replace("−", "-"))


def test_the_table_is_complete():
    assert {folder.parent.name for folder in (ROOT / "systems").glob("*/system.yaml")} == set(SIZES)


def test_atoms_and_degrees_of_freedom(system, readme):
    atoms, constraints = SIZES[system.name]
    assert (system.n_atoms, system.openmm_system.getNumConstraints()) == (atoms, constraints)
    assert re.search(rf"\b{atoms} atoms", readme)
    assert re.search(rf"\b{3 * atoms - 6 - constraints} internal degrees of freedom", readme)


def test_energy_of_the_reference_structure(readme, context):
    (published,) = re.findall(r"^\| `topology.pdb` \| .*U = (−?[\d.]+) kJ/mol", readme, flags=re.MULTILINE)
    assert energy(context) == pytest.approx(number(published), abs=0.0051)  # two digits are given


def test_the_reference_structure_is_a_minimum(context):
    """What thirty steps of minimisation gain is what the PDB file's three digits of a length cost.

    OpenMM's minimiser holds constraints by springs and restores them at its end, so it may end a little above, too.
    """
    before = energy(context)
    openmm.LocalEnergyMinimizer.minimize(context, 2.0, 30)
    assert abs(before - energy(context)) < 0.2


def test_constraints_hold_in_the_reference_structure(system):
    """To the rounding of a PDB file's coordinates, 5e-5 nm each."""
    hamiltonian = system.openmm_system
    for index in range(hamiltonian.getNumConstraints()):
        i, j, length = hamiltonian.getConstraintParameters(index)
        found = np.linalg.norm(system.positions[i] - system.positions[j])
        assert found == pytest.approx(length.value_in_unit(u.nanometer), abs=2 * 3**0.5 * 5e-5)


def test_torsions_are_those_of_the_readme(system, readme):
    rows = re.findall(r"^\| [^|]+ \| (\d+, \d+, \d+, \d+) \(([^)]*)\)", readme, flags=re.MULTILINE)
    assert rows
    for indices, names in rows:
        assert [system.atom_names[int(i)] for i in indices.split(",")] == [n.strip() for n in names.split(",")]


def test_amino_acids_are_left_handed_and_peptide_bonds_trans(system):
    frame = mdtraj.Trajectory(system.positions, system.mdtraj_topology)
    assert not inverted_chirality(frame).any()
    quadruples = []
    for bond in frame.topology.bonds:
        if bond[0].residue != bond[1].residue:
            c, n = sorted(bond, key=lambda atom: atom.name)
            (o,) = c.residue.atoms_by_name("O")
            (next_carbon,) = n.residue.atoms_by_name("C" if n.residue.name == "NME" else "CA")
            quadruples.append((o.index, c.index, n.index, next_carbon.index))
    assert len(quadruples) == PEPTIDE_BONDS[system.name]
    if quadruples:  # ω is trans where the oxygen is cis
        assert (abs(mdtraj.compute_dihedrals(frame, quadruples)) < np.radians(30)).all()


def test_side_chains_have_the_right_hand(system):
    """Isoleucine's CB is S, threonine's is R: in both, CA · (CG1 or OG1 × CG2) > 0, seen from CB."""
    for residue in system.mdtraj_topology.residues:
        at = {atom.name: system.positions[atom.index] for atom in residue.atoms}
        if residue.name in ("ILE", "THR"):
            a, b, c = (at[name] - at["CB"] for name in ("CA", "CG1" if "CG1" in at else "OG1", "CG2"))
            assert a @ np.cross(b, c) > 0


def test_native_energies_are_openmms(system, context):
    generator = np.random.default_rng(0)
    frames = system.positions + generator.normal(scale=0.004, size=(3, system.n_atoms, 3))
    native = system.potential(backend="torch", compile=False).energy(torch.from_numpy(frames))
    for frame, found in zip(frames, native, strict=True):
        context.setPositions(frame)
        assert found.item() == pytest.approx(energy(context), rel=1e-6, abs=1e-4)
