"""Makes the structures of this folder again: python tests/molecules/structures/build.py (needs RDKit).

Peptides and nucleotides are embedded by RDKit and minimised in Amber's force fields by OpenMM, all others in MMFF94
by RDKit.
"""

from pathlib import Path

import numpy as np
import openmm
import openmm.unit as u
from openmm import app
from rdkit import Chem
from rdkit.Chem import AllChem

HERE = Path(__file__).parent
FORCEFIELD = app.ForceField("amber14-all.xml")

AMINO_ACIDS = {
    "ALA": "C", "ARG": "CCCNC(N)=[NH2+]", "ASN": "CC(N)=O", "ASP": "CC(=O)[O-]", "CYS": "CS", "GLN": "CCC(N)=O",
    "GLU": "CCC(=O)[O-]", "GLY": "", "HIS": "Cc1c[nH]cn1", "ILE": "[C@@H](C)CC", "LEU": "CC(C)C", "LYS": "CCCC[NH3+]",
    "MET": "CCSC", "PHE": "Cc1ccccc1", "SER": "CO", "THR": "[C@H](O)C", "TRP": "Cc1c[nH]c2ccccc12",
    "TYR": "Cc1ccc(O)cc1", "VAL": "C(C)C",
}  # fmt: skip
"""Side chains as SMILES; proline is written out below."""

PEPTIDES = {
    **{
        f"dipeptide_{name.lower()}": f"CC(=O)N{'[C@@H]' if side else 'C'}{f'({side})' if side else ''}C(=O)NC"
        for name, side in AMINO_ACIDS.items()
    },
    "dipeptide_pro": "CC(=O)N1CCC[C@H]1C(=O)NC",
}
HELM = {
    "cyclo_ala4": "PEPTIDE1{A.A.A.A}$PEPTIDE1,PEPTIDE1,1:R1-4:R2$$$",
    "cyclo_gpfgpf": "PEPTIDE1{G.P.F.G.P.F}$PEPTIDE1,PEPTIDE1,1:R1-6:R2$$$",
    "disulfide_caac": "PEPTIDE1{C.A.A.C}$PEPTIDE1,PEPTIDE1,1:R3-4:R3$$$",
}
NUCLEIC = {"rna_a": ("A", 2), "dna_t": ("T", 6), "rna_au": ("AU", 2), "dna_gc": ("GC", 6)}
"""Sequence and RDKit's flavor: RNA and DNA with OH at either end."""

OTHERS = {
    "glucose": "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "sucrose": "OC[C@H]1O[C@@](CO)(O[C@H]2O[C@H](CO)[C@@H](O)[C@H](O)[C@H]2O)[C@@H](O)[C@@H]1O",
    "adenosine_monophosphate": "Nc1ncnc2c1ncn2[C@@H]1O[C@H](COP(=O)([O-])[O-])[C@@H](O)[C@H]1O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "penicillin_g": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "testosterone": "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "morphine": "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "strychnine": "O=C1C[C@@H]2OCC=C3CN4CC[C@]56[C@H]4C[C@H]3[C@H]2[C@H]5N1c1ccccc61",
    "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "camphor": "CC1(C)[C@@H]2CC[C@@]1(C)C(=O)C2",
    "adamantane": "C1C2CC3CC1CC(C2)C3",
    "cubane": "C12C3C4C1C5C2C3C45",
    "spiropentane": "C1CC12CC2",
    "crown_18_6": "C1COCCOCCOCCOCCOCCO1",
    "tetrachloromethane": "ClC(Cl)(Cl)Cl",
    "acetonitrile": "CC#N",
    "benzonitrile": "N#Cc1ccccc1",
    "pent_2_yne_4_nitrile": "CC#CC#N",
    "allene": "C=C=C",
    "hydrogen_peroxide": "OO",
    "formic_acid_dimer": "OC=O.OC=O",
    "water_dimer": "O.O",
    "benzene_methanol": "c1ccccc1.CO",
    "acetate_and_water": "CC(=O)[O-].O",
}


def charged_ends(molecule: Chem.Mol) -> Chem.Mol:
    """An NH₃⁺ where a chain begins with NH₂, a COO⁻ where it ends; no hydrogens at phosphates."""
    edited = Chem.RWMol(molecule)
    for atom in edited.GetAtoms():
        info = atom.GetPDBResidueInfo().GetName().strip()
        is_acid = any(neighbour.GetSymbol() == "P" for neighbour in atom.GetNeighbors()) and atom.GetTotalNumHs() == 1
        if info == "OXT" or is_acid:
            atom.SetFormalCharge(-1)
        if info == "N" and atom.GetDegree() == 1:
            atom.SetFormalCharge(1)
    Chem.SanitizeMol(edited)
    return edited.GetMol()


def residue_of(atom: Chem.Atom) -> int:
    info = atom.GetPDBResidueInfo()
    return residue_of(atom.GetNeighbors()[0]) if info is None else info.GetResidueNumber()


def topology_of(molecule: Chem.Mol, residues: list[int]) -> app.Topology:
    """Atoms by residue; each fragment of a molecule is a chain.

    Residues have a name that the PDB format does not know, so that their bonds are written.
    """
    topology, atoms = app.Topology(), {}
    chain_of = {i: n for n, fragment in enumerate(Chem.GetMolFrags(molecule)) for i in fragment}
    chains, made, counts = {}, {}, {}
    for atom in molecule.GetAtoms():
        key = (chain_of[atom.GetIdx()], residues[atom.GetIdx()])
        if key[0] not in chains:
            chains[key[0]] = topology.addChain()
        if key not in made:
            made[key] = topology.addResidue("RES", chains[key[0]], str(key[1]))
        symbol = atom.GetSymbol()
        info = atom.GetPDBResidueInfo()
        counts[key, symbol] = counts.get((key, symbol), 0) + 1
        name = info.GetName().strip() if info is not None else f"{symbol.upper()}{counts[key, symbol]}"
        atoms[atom.GetIdx()] = topology.addAtom(name, app.Element.getBySymbol(symbol), made[key])
    for bond in molecule.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology


def embedded(molecule: Chem.Mol) -> Chem.Mol:
    molecule = Chem.AddHs(molecule)
    options = AllChem.ETKDGv3()
    options.randomSeed = 1
    if AllChem.EmbedMolecule(molecule, options) != 0:
        options.useRandomCoords = True
        assert AllChem.EmbedMolecule(molecule, options) == 0
    return molecule


def capped_residues(molecule: Chem.Mol) -> list[int]:
    """Acetyl 1, the amino acid 2, methylamide 3."""
    first = molecule.GetSubstructMatch(Chem.MolFromSmarts("[CH3]C(=O)N"))
    last = molecule.GetSubstructMatch(Chem.MolFromSmarts("C(=O)[NH][CH3]"))
    residues = []
    for atom in molecule.GetAtoms():
        heavy = atom.GetIdx() if atom.GetSymbol() != "H" else atom.GetNeighbors()[0].GetIdx()
        residues.append(1 if heavy in first[:3] else 3 if heavy in last[2:] else 2)
    return residues


def reordered(molecule: Chem.Mol, residues: list[int]) -> tuple[Chem.Mol, list[int]]:
    """Atoms of a residue side by side."""
    order = sorted(range(len(residues)), key=lambda i: (residues[i], i))
    return Chem.RenumberAtoms(molecule, order), [residues[i] for i in order]


def positions_of(molecule: Chem.Mol) -> u.Quantity:
    return molecule.GetConformer().GetPositions() * u.angstrom


def minimized(topology: app.Topology, positions: u.Quantity) -> u.Quantity:
    system = FORCEFIELD.createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=None, removeCMMotion=False)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 0.01)
    return context.getState(getPositions=True).getPositions()


def write(name: str, topology: app.Topology, positions: u.Quantity) -> None:
    with (HERE / f"{name}.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, positions, file, keepIds=True)


def main() -> None:
    for name, smiles in PEPTIDES.items():
        molecule = embedded(Chem.MolFromSmiles(smiles))
        molecule, residues = reordered(molecule, capped_residues(molecule))
        topology = topology_of(molecule, residues)
        write(name, topology, minimized(topology, positions_of(molecule)))
    chains = {name: Chem.MolFromHELM(helm) for name, helm in HELM.items()}
    chains |= {name: Chem.MolFromSequence(letters, flavor=flavor) for name, (letters, flavor) in NUCLEIC.items()}
    for name, chain in chains.items():
        molecule = embedded(charged_ends(chain))
        molecule, residues = reordered(molecule, [residue_of(atom) for atom in molecule.GetAtoms()])
        topology = topology_of(molecule, residues)
        write(name, topology, minimized(topology, positions_of(molecule)))
    for name, smiles in OTHERS.items():
        molecule = embedded(Chem.MolFromSmiles(smiles))
        if AllChem.MMFFHasAllMoleculeParams(molecule):
            AllChem.MMFFOptimizeMolecule(molecule, maxIters=5000)
        else:
            AllChem.UFFOptimizeMolecule(molecule, maxIters=5000)
        residues = [1] * molecule.GetNumAtoms()
        for number, fragment in enumerate(Chem.GetMolFrags(molecule)):
            for atom in fragment:
                residues[atom] = number + 1
        molecule, residues = reordered(molecule, residues)
        positions = molecule.GetConformer().GetPositions()
        second = [i for i, number in enumerate(residues) if number == 2]
        if second:  # embedded one upon the other
            positions[second, 2] += np.ptp(positions[:, 2]) + 2.5
        write(name, topology_of(molecule, residues), positions * u.angstrom)


if __name__ == "__main__":
    main()
