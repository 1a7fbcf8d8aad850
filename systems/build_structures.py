"""The structures of the library, made from nothing: python systems/build_structures.py NAME …

Heavy atoms stand at ideal internal geometry (PeptideBuilder, RDKit: pip install PeptideBuilder rdkit), hydrogens where
OpenMM puts them, atoms in the order of Amber's LEaP. Then the molecule is heated and cooled again and again, and the
lowest minimum found becomes topology.pdb. On other processors the search may end in another minimum as low.
"""

import argparse
import io
import itertools
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import openmm.unit as u
from openmm import app
from rdkit import Chem
from rdkit.Chem import AllChem

from boltzflow.analysis import inverted_chirality
from boltzflow.molecules import MolecularSystem, SystemDescription, load_system
from boltzflow.molecules.readers.sequence import STRETCHED, heavy_atoms

# Heavy atoms in the order of LEaP; each is followed by its hydrogens.
HEAVY = {
    "ACE": "CH3 C O",
    "ALA": "N CA CB C O",
    "ASP": "N CA CB CG OD1 OD2 C O",
    "GLU": "N CA CB CG CD OE1 OE2 C O",
    "GLY": "N CA C O",
    "ILE": "N CA CB CG2 CG1 CD1 C O",
    "LEU": "N CA CB CG CD1 CD2 C O OXT",
    "NME": "N C",
    "PRO": "N CD CG CB CA C O",
    "THR": "N CA CB CG2 OG1 C O",
    "TRP": "N CA CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2 C O",
    "TYR": "N CA CB CG CD1 CE1 CZ OH CE2 CD2 C O OXT",
}
# φ and ψ (degrees) of a β-hairpin whose loop of four residues (PETG) is α α γ α_L (Honda et al. 2004, doi
# 10.1016/j.str.2004.05.022), and the backbone hydrogen bonds O···H that hold it (residues from 0).
HAIRPIN = [(-130, 150), (-125, 140), (-85, 115), (-60, -30), (-75, -30), (-110, -10), (85, 15)]
HAIRPIN += [(-125, 140), (-115, 130), (-130, 140)]
HAIRPIN_BONDS = [(7, 2), (2, 6), (0, 9)]


def in_order_of_leap(modeller: app.Modeller) -> app.Modeller:
    """Each heavy atom followed by its hydrogens; ACE begins with one of its methyl's."""
    hydrogens: dict[app.topology.Atom, list[app.topology.Atom]] = {}
    for bond in modeller.topology.bonds():
        for heavy, light in itertools.permutations(bond):
            if light.element.symbol == "H":
                hydrogens.setdefault(heavy, []).append(light)
    order = []
    for residue in modeller.topology.residues():
        atoms = {atom.name: atom for atom in residue.atoms()}
        listed = []
        for name in HEAVY[residue.name].split():
            if name in atoms:
                listed += [atoms[name], *sorted(hydrogens.get(atoms[name], []), key=lambda atom: atom.name)]
        if residue.name == "ACE":
            listed[:2] = listed[1::-1]
        order += listed
    assert len(order) == modeller.topology.getNumAtoms()
    topology, new = app.Topology(), {}
    chain = topology.addChain("A")
    residues = [topology.addResidue(old.name, chain, old.id) for old in modeller.topology.residues()]
    for atom in order:
        new[atom] = topology.addAtom(atom.name, atom.element, residues[atom.residue.index])
    for bond in modeller.topology.bonds():
        topology.addBond(*(new[atom] for atom in bond))
    positions = modeller.positions.value_in_unit(u.nanometer)
    return app.Modeller(topology, [positions[atom.index] for atom in order] * u.nanometer)


def alkane(smiles: str, residue_name: str) -> app.Modeller:
    """A hydrocarbon, each carbon followed by its hydrogens."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    topology, new, positions = app.Topology(), {}, []
    residue = topology.addResidue(residue_name, topology.addChain("A"))
    for number, carbon in enumerate((a for a in molecule.GetAtoms() if a.GetSymbol() == "C"), 1):
        hydrogens = [a for a in carbon.GetNeighbors() if a.GetSymbol() == "H"]
        for name, atom in [(f"C{number}", carbon), *((f"H{number}{k}", a) for k, a in enumerate(hydrogens, 1))]:
            new[atom.GetIdx()] = topology.addAtom(name, app.Element.getBySymbol(atom.GetSymbol()), residue)
            positions.append(0.1 * np.array(molecule.GetConformer().GetAtomPosition(atom.GetIdx())))
    for bond in molecule.GetBonds():
        topology.addBond(new[bond.GetBeginAtomIdx()], new[bond.GetEndAtomIdx()])
    return app.Modeller(topology, positions * u.nanometer)


def sound(topology: app.Topology, positions: np.ndarray) -> bool:
    """Whether all amino acids are left-handed and all peptide bonds trans: O is then cis to the next carbon."""
    frame = mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology))
    atoms = [{atom.name: atom.index for atom in residue.atoms} for residue in frame.topology.residues]
    peptide_bonds = [(a["O"], a["C"], b["N"], b.get("CA", b["C"])) for a, b in itertools.pairwise(atoms)]
    trans = not peptide_bonds or np.abs(mdtraj.compute_dihedrals(frame, peptide_bonds)).max() < np.radians(30)
    return bool(trans) and not inverted_chirality(frame).any()


def lowest_minimum(
    topology: app.Topology, hamiltonian: openmm.System, start: np.ndarray, hottest: float, rounds: int, seed: int
) -> tuple[float, np.ndarray]:
    """Energy (kJ/mol) and positions (N, 3) nm of the lowest sound minimum. A round cools from `hottest` K to 50 K."""
    step = 0.002 if hamiltonian.getNumConstraints() else 0.001
    integrator = openmm.LangevinMiddleIntegrator(hottest, 5.0, step)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("CPU" if len(start) > 100 else "Reference")
    context = openmm.Context(hamiltonian, integrator, platform)
    context.setPositions(start)
    best, found = np.inf, start
    for _ in range(rounds):
        openmm.LocalEnergyMinimizer.minimize(context, 0.01)
        state = context.getState(energy=True, positions=True)
        energy = state.getPotentialEnergy().value_in_unit(u.kilojoule_per_mole)
        positions = state.getPositions(asNumpy=True).value_in_unit(u.nanometer)
        if energy < best and sound(topology, positions):
            best, found = energy, positions
        if not sound(topology, positions):
            context.setPositions(found)
        context.setVelocitiesToTemperature(hottest, seed)
        for temperature in np.geomspace(hottest, 50.0, 20):
            integrator.setTemperature(temperature)
            integrator.step(150)
    return best, found


def held(hamiltonian: openmm.System, topology: app.Topology) -> openmm.System:
    """The System with the hairpin's φ and ψ held near theirs, and its hydrogen bonds at 0.2 nm or less."""
    atoms = {(atom.residue.index, atom.name): atom.index for atom in topology.atoms()}
    bonds = openmm.CustomBondForce("2000 * max(0, r - 0.2)^2")
    for acceptor, donor in HAIRPIN_BONDS:
        bonds.addBond(atoms[acceptor, "O"], atoms[donor, "H"])
    torsions = openmm.CustomTorsionForce("100 * (1 - cos(theta - target))")
    torsions.addPerTorsionParameter("target")
    for k, ((_, psi), (phi, _)) in enumerate(itertools.pairwise(HAIRPIN)):
        n, ca, c, next_n, next_ca, next_c = (atoms[k + name // 3, ("N", "CA", "C")[name % 3]] for name in range(6))
        torsions.addTorsion(n, ca, c, next_n, [np.radians(psi)])
        torsions.addTorsion(c, next_n, next_ca, next_c, [np.radians(phi)])
    restrained = openmm.XmlSerializer.clone(hamiltonian)
    restrained.addForce(bonds)
    restrained.addForce(torsions)
    return restrained


def write(name: str, topology: app.Topology, positions: u.Quantity) -> MolecularSystem:
    """The system with this structure in its topology.pdb."""
    folder, text = Path(__file__).parent / name, io.StringIO()
    app.PDBFile.writeFile(topology, positions, text, keepIds=True)
    description = SystemDescription.read(folder / "system.yaml").description
    lines = [f"REMARK   1 {description}", *text.getvalue().splitlines()[1:], ""]
    (folder / "topology.pdb").write_text("\n".join(lines), encoding="utf-8")
    return load_system(name)


def build(name: str) -> None:
    """Write systems/NAME/topology.pdb."""
    if name in ALKANES:
        molecule = alkane(*ALKANES[name])
    else:
        sequence, backbone, capped = PEPTIDES[name]
        heavy = heavy_atoms(sequence, capped, backbone)
        molecule = app.Modeller(heavy.topology, heavy.positions)
        molecule.addHydrogens()
        molecule = in_order_of_leap(molecule)
    topology, system = molecule.topology, write(name, molecule.topology, molecule.positions)
    hamiltonian, positions, hottest = system.openmm_system, system.positions, 700.0
    if name == "chignolin":
        _, positions = lowest_minimum(topology, held(hamiltonian, topology), positions, 400.0, 8, seed=1)
        hottest = 330.0
    energy, positions = lowest_minimum(topology, hamiltonian, positions, hottest, ROUNDS[name], seed=2)
    write(name, topology, (positions - positions.mean(0)) * u.nanometer)
    print(f"{name}: {system.n_atoms} atoms, {energy:.2f} kJ/mol")


ALKANES = {"butane": ("CCCC", "NBU"), "cyclohexane": ("C1CCCCC1", "CHX")}
PEPTIDES = {
    "alanine_dipeptide_vacuum": ("A", [STRETCHED], True),
    "ala3": ("AAA", [STRETCHED] * 3, True),
    "ala5": ("AAAAA", [STRETCHED] * 5, True),
    "elil": ("ELIL", [STRETCHED] * 4, False),
    "chignolin": ("YYDPETGTWY", HAIRPIN, False),
}
ROUNDS = {
    "butane": 20,
    "cyclohexane": 20,
    "alanine_dipeptide_vacuum": 100,
    "ala3": 200,
    "ala5": 300,
    "elil": 200,
    "chignolin": 12,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(ROUNDS), metavar="NAME")
    for name in parser.parse_args().names:
        build(name)
