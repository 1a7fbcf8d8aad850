"""Names of torsions, which bonds are rotatable, and which of their values are equivalent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow.molecules import named_torsions, rotatable_torsions, torsion_values

STRUCTURES = Path(__file__).parent / "structures"
CRESOL = Path(__file__).parents[2] / "examples" / "own_molecule" / "o_cresol.pdb"


def topology_of(source: str) -> mdtraj.Topology:
    """A structure of the tests, or a system of the library."""
    file = STRUCTURES / f"{source}.pdb"
    return mdtraj.load(str(file)).topology if file.is_file() else bf.load_system(source).mdtraj_topology


def names(topology: mdtraj.Topology) -> list[str]:
    return [torsion.name for torsion in rotatable_torsions(topology)]


BACKBONE = ["omega ACE1", "phi X2", "psi X2", "omega X2"]
SIDE_CHAINS = {
    "V": ["chi1"],
    "S": ["chi1", "torsion CA CB OG HG"],
    "F": ["chi1", "chi2"],
    "P": [],
    "W": ["chi1", "chi2"],
    "K": ["chi1", "chi2", "chi3", "chi4"],
    "R": ["chi1", "chi2", "chi3", "chi4", "chi5"],
    "M": ["chi1", "chi2", "chi3"],
    "N": ["chi1", "chi2"],
    "I": ["chi1", "chi2"],
    "A": [],
    "G": [],
}


@pytest.mark.parametrize("letter", SIDE_CHAINS)
def test_names_of_capped_amino_acids(letter: str) -> None:
    pytest.importorskip("PeptideBuilder")
    topology = bf.MolecularSystem.from_sequence(letter, caps=True).mdtraj_topology
    residue = str(topology.residue(1))

    def full(short: str) -> str:
        kind, *atoms = short.split()
        return f"{kind} {' '.join(f'{residue}-{atom}' for atom in atoms) or residue}"

    expected = [name.replace("X2", residue) for name in BACKBONE] + [full(short) for short in SIDE_CHAINS[letter]]
    assert names(topology) == expected
    frame = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3)), topology)
    by_name = {torsion.name: torsion.atoms for torsion in rotatable_torsions(topology)}
    for kind in ("phi", "psi", "chi1", "chi2", "chi3", "chi4", "chi5"):
        indices, _ = getattr(mdtraj, f"compute_{kind}")(frame)
        if f"{kind} {residue}" in by_name:
            assert by_name[f"{kind} {residue}"] in [tuple(four) for four in indices.tolist()]
    folds = {torsion.kind: torsion.folds for torsion in rotatable_torsions(topology) if torsion.folds > 1}
    assert folds == {"F": {"chi2": 2}, "R": {"chi5": 2}}.get(letter, {})
    assert ("phi", True) not in [(t.kind, t.in_ring) for t in rotatable_torsions(topology)] or letter == "P"


def test_names_in_proteins_are_mdtrajs() -> None:
    """All that mdtraj finds in chignolin, but for the ring of proline; and ω of the residue of C."""
    topology = topology_of("chignolin")
    frame = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3)), topology)
    ours = {torsion.atoms: torsion.name for torsion in rotatable_torsions(topology)}
    for kind, carbon in (("phi", 2), ("psi", 1), ("omega", 1), *((f"chi{k}", 0) for k in range(1, 6))):
        for four in getattr(mdtraj, f"compute_{kind}")(frame)[0].tolist():
            residue = topology.atom(four[carbon]).residue
            if residue.name == "PRO" and kind.startswith("chi"):
                assert tuple(four) not in ours
            else:
                assert ours[tuple(four)] == f"{kind} {residue}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("butane", ["torsion C1 C2 C3 C4"]),
        ("cyclohexane", []),
        ("aspirin", ["torsion O1 C2 O2 C3", "torsion C4 C3 O2 C2", "torsion C3 C8 C9 O3", "torsion O3 C9 O4 H8"]),
        ("adamantane", []),
        ("pent_2_yne_4_nitrile", []),  # linear
        ("acetonitrile", []),
        ("hydrogen_peroxide", ["torsion H1 O1 O2 H2"]),
        ("tetrachloromethane", []),
        ("water_dimer", []),
        ("benzene_methanol", []),  # the hydrogen of methanol's hydroxyl turns against a methyl
    ],
)
def test_rotatable_bonds(source: str, expected: list[str]) -> None:
    assert names(topology_of(source)) == expected


def test_own_molecule() -> None:
    """o-Cresol: its hydroxyl, but not its methyl."""
    assert names(mdtraj.load(str(CRESOL)).topology) == ["torsion C2 C1 O1 HO1"]


def test_rings() -> None:
    """Flexible rings have torsions that are not rotatable; flat and wide ones have none, and rotatable ones."""
    ring = named_torsions(topology_of("cyclohexane"))
    assert len(ring) == 6
    assert all(torsion.in_ring for torsion in ring)
    assert not any(torsion.in_ring for torsion in named_torsions(topology_of("aspirin")))
    crown = rotatable_torsions(topology_of("crown_18_6"))
    assert len(crown) == 18
    proline = [torsion.kind for torsion in named_torsions(topology_of("cyclo_gpfgpf")) if torsion.in_ring]
    assert proline.count("phi") == 2
    assert "phi" in {t.kind for t in rotatable_torsions(topology_of("cyclo_gpfgpf")) if t.in_ring}


def test_nucleotides() -> None:
    kinds = [(torsion.kind, torsion.place) for torsion in rotatable_torsions(topology_of("rna_au"))]
    named = [pair for pair in kinds if pair[0] != "torsion"]
    first = [(kind, "RES1") for kind in ("gamma", "epsilon", "zeta", "chi")]
    assert named == [*first, *((kind, "RES2") for kind in ("alpha", "beta", "gamma", "chi"))]
    assert len(kinds) - len(named) == 4  # hydroxyls at both O2', O3' and O5'


def shuffled(topology: mdtraj.Topology, seed: int) -> tuple[mdtraj.Topology, np.ndarray]:
    """The same molecule with the atoms of each residue in another order, and the new place of each atom."""
    random, found, place = np.random.default_rng(seed), mdtraj.Topology(), np.zeros(topology.n_atoms, int)
    chain = found.add_chain()
    for residue in topology.residues:
        new = found.add_residue(residue.name, chain, residue.resSeq)
        for atom in random.permutation(np.array(list(residue.atoms), object)):
            place[atom.index] = found.add_atom(atom.name, atom.element, new).index
    atoms = list(found.atoms)
    for bond in random.permutation(np.array([(b.atom1.index, b.atom2.index) for b in topology.bonds])):
        found.add_bond(*(atoms[place[i]] for i in bond))
    return found, place


def test_names_do_not_depend_on_the_order_of_atoms() -> None:
    """Nor do end groups; and the names are unique. (The path around a fused ring may.)"""
    for source in ("aspirin", "sucrose", "penicillin_g", "ala3", "morphine", "disulfide_caac"):
        topology = topology_of(source)
        known = rotatable_torsions(topology)
        assert len({torsion.name for torsion in known}) == len(known)
        for seed in range(3):
            moved, place = shuffled(topology, seed)
            for old, new in zip(known, rotatable_torsions(moved), strict=True):
                assert new == replace(old, atoms=tuple(place[list(old.atoms)].tolist()))


def test_equal_names_of_atoms_leave_names_of_torsions_unique() -> None:
    topology = topology_of("butane").copy()
    for atom in topology.atoms:
        atom.name = atom.element.symbol
    assert names(topology) == ["torsion C C C C"]
    sugar = topology_of("sucrose").copy()
    for atom in sugar.atoms:
        atom.name = atom.element.symbol
    assert len(set(names(sugar))) == len(names(sugar)) > 5


def test_equivalent_values_are_those_of_exchanged_atoms() -> None:
    """Half a turn of Phe's ring exchanges its sides: the torsion by the other carbon is the same, folded."""
    topology = topology_of("cyclo_gpfgpf")
    folded = [torsion for torsion in rotatable_torsions(topology) if torsion.folds == 2]
    assert [torsion.name for torsion in folded] == ["chi2 RES3", "chi2 RES6"]
    frame = torch.from_numpy(mdtraj.load(str(STRUCTURES / "cyclo_gpfgpf.pdb")).xyz).double()
    for torsion in folded:
        residue = topology.atom(torsion.atoms[3]).residue
        (other,) = (a.index for a in residue.atoms if a.name in ("CD1", "CD2") and a.index != torsion.atoms[3])
        values = torsion_values(frame, [torsion])
        there = torsion_values(frame, [replace(torsion, atoms=(*torsion.atoms[:3], other))])
        assert torch.cos(2 * values - 2 * there).item() > 0.98


def test_staggered_bonds_are_between_tetrahedral_atoms() -> None:
    found = {torsion.name: torsion.staggered for torsion in rotatable_torsions(topology_of("aspirin"))}
    assert not any(found.values())
    found = {torsion.kind: torsion.staggered for torsion in rotatable_torsions(topology_of("rna_au"))}
    assert [found[kind] for kind in ("alpha", "gamma", "zeta", "chi")] == [True, True, True, False]
    disulfide = {t.name.split(" ", 1)[1]: t.staggered for t in rotatable_torsions(topology_of("disulfide_caac"))}
    assert not disulfide["RES1-CB RES1-SG RES4-SG RES4-CB"]
    assert disulfide["RES1-CA RES1-CB RES1-SG RES4-SG"]
