"""Reads small molecules with RDKit, and refuses what GAFF cannot describe or what the input leaves open."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import openmm.unit as u
from openmm import app

from boltzflow.errors import FileFormatError, MissingDependencyError, OptionError
from boltzflow.molecules.forcefields import one_line
from boltzflow.molecules.readers.fit import check_structure
from boltzflow.molecules.readers.reading import require

RESIDUE = "MOL"
"""The name of the residue that a small molecule is."""

ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
"""The elements that GAFF has parameters for."""

ISOMERS = 8
"""The largest number of isomers that an error lists."""

_CALLER = 5  # stack level of the caller of `MolecularSystem.from_smiles`, for warnings

_MOSTLY_CHARGED = {
    "carboxylic acid": "[CX3](=O)[OX2H1]",
    "sulfonic or phosphoric acid": "[S,P](=O)[OX2H1]",
    "aliphatic amine": "[NX3;+0;!$(N-[!#1;!#6]);!$(N-[#6;^1,^2])]",
    "amidine or guanidine": "[NX3;+0]-[CX3]=[NX2;+0]",
}
"""Groups that are neutral as written and charged in water at pH 7, as SMARTS."""


def molecule_from_smiles(smiles: str) -> Any:
    """The molecule of a SMILES string, an RDKit molecule with all hydrogens and without positions.

    Raises:
        OptionError: if the SMILES is invalid, leaves stereochemistry open, or describes anything that GAFF cannot.
        MissingDependencyError: if RDKit is not installed.
    """
    chem = _rdkit()
    with _quiet():
        read = chem.MolFromSmiles(smiles)
    if read is None or not read.GetNumAtoms():
        raise OptionError(f"Expected a valid SMILES; got {smiles!r}: {_fault(smiles)}.")
    for atom in read.GetAtoms():
        atom.SetAtomMapNum(0)
    whole = chem.AddHs(read)
    _check_atoms(whole, smiles)
    _check_stereo(whole, smiles)
    _warn_of_protonation(whole, smiles)
    _warn_of_double_bonds(whole, smiles)
    return whole


def molecule_from_file(path: str | Path, add_hydrogens: bool) -> Any:
    """The first molecule of an SDF, MOL or MOL2 file, an RDKit molecule with all hydrogens and its positions.

    Raises:
        SystemNotFoundError: if the file does not exist.
        FileFormatError: if it is not such a file, or is two-dimensional.
        OptionError: if hydrogens are missing and are not to be added, or the molecule is one that GAFF cannot describe.
        MissingDependencyError: if RDKit is not installed.
    """
    chem = _rdkit()
    require(path)
    read = _first(Path(path))
    is_flat = not np.ptp(read.GetConformer().GetPositions(), axis=0)[2] > 0
    if is_flat and any(atom.GetTotalDegree() > 3 for atom in read.GetAtoms()):
        raise FileFormatError(f"Expected three-dimensional positions in {path}; all atoms have the same z.")
    lacking = [name for name, atom in zip(names_of(read), read.GetAtoms(), strict=True) if atom.GetTotalNumHs() > 0]
    if lacking and not add_hydrogens:
        raise OptionError(
            f"Expected all hydrogens in {path}; {_listed(lacking)} lack some: add_hydrogens=True adds them."
        )
    whole = chem.AddHs(read, addCoords=True)
    chem.AssignStereochemistryFrom3D(whole)
    _check_atoms(whole, str(path))
    check_structure(topology_of(whole), whole.GetConformer().GetPositions() * u.angstrom, path)
    _check_stereo(whole, str(path))
    _warn_of_protonation(whole, str(path))
    _warn_of_double_bonds(whole, str(path))
    return whole


def atom_names(elements: Iterable[str]) -> list[str]:
    """Element and number within the element.

    >>> atom_names(["C", "C", "Cl", "H"])
    ['C1', 'C2', 'CL1', 'H1']
    """
    count: Counter[str] = Counter()
    names = []
    for element in elements:
        count[element] += 1
        names.append(f"{element.upper()}{count[element]}")
    return names


def names_of(molecule: Any) -> list[str]:
    """The names of a molecule's atoms."""
    return atom_names([atom.GetSymbol() for atom in molecule.GetAtoms()])


def topology_of(molecule: Any) -> app.Topology:
    """An OpenMM topology of an RDKit molecule: one residue, with a name for each atom and all bonds."""
    topology = app.Topology()
    residue = topology.addResidue(RESIDUE, topology.addChain())
    elements = [app.Element.getBySymbol(atom.GetSymbol()) for atom in molecule.GetAtoms()]
    atoms = [topology.addAtom(*of, residue) for of in zip(names_of(molecule), elements, strict=True)]
    for bond in molecule.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology


def stereo_labels(molecule: Any) -> dict[tuple[int, ...], str]:
    """The CIP label (R, S, E, Z) of each stereocentre (one atom) and double bond (two atoms).

    Labels follow from the positions if the molecule has some.
    """
    from rdkit.Chem import rdCIPLabeler

    chem = _rdkit()
    labelled = chem.Mol(molecule)
    if labelled.GetNumConformers():
        chem.AssignStereochemistryFrom3D(labelled)
    rdCIPLabeler.AssignCIPLabels(labelled)
    places: list[tuple[tuple[int, ...], Any]] = [((atom.GetIdx(),), atom) for atom in labelled.GetAtoms()]
    places += [((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), bond) for bond in labelled.GetBonds()]
    return {place: part.GetProp("_CIPCode") for place, part in places if part.HasProp("_CIPCode")}


def _rdkit() -> Any:
    try:
        from rdkit import Chem
    except ImportError:
        raise MissingDependencyError('Small molecules need RDKit: pip install "boltzflow[ligands]".') from None
    return Chem


def _quiet() -> Any:
    """Keeps RDKit from writing to stderr what is raised."""
    from rdkit import rdBase

    return rdBase.BlockLogs()


def _fault(smiles: str) -> str:
    """Why RDKit does not accept a SMILES."""
    chem = _rdkit()
    with _quiet():
        read = chem.MolFromSmiles(smiles, sanitize=False)
        problems = chem.DetectChemistryProblems(read) if read is not None else []
    return one_line(problems[0].Message()) if problems else "it does not follow the grammar of SMILES"


def _first(path: Path) -> Any:
    chem = _rdkit()
    with _quiet():
        if path.suffix.lower() == ".mol2":
            read = chem.MolFromMol2File(str(path), removeHs=False)
            hint = "; a MOL2 file needs Tripos (SYBYL) atom types, not those of GAFF"
        else:
            entries = list(islice(chem.ForwardSDMolSupplier(str(path), removeHs=False), 2))
            read, hint = next(iter(entries), None), ""
            if len(entries) > 1:
                warnings.warn(f"{path} contains several molecules; the first one is read.", stacklevel=_CALLER)
    if read is None or not read.GetNumAtoms():
        raise FileFormatError(f"Expected an SDF, MOL or MOL2 file in {path}; RDKit cannot read a molecule{hint}.")
    return read


def _check_atoms(molecule: Any, source: str) -> None:
    """Raise an OptionError if GAFF cannot describe the molecule."""
    chem = _rdkit()
    atoms, names = list(molecule.GetAtoms()), names_of(molecule)
    parts = chem.GetMolFrags(molecule, asMols=True)
    if len(parts) != 1:
        found = ", ".join(chem.MolToSmiles(chem.RemoveHs(part)) for part in parts)
        raise OptionError(f"Expected a single molecule, without salts or solvent; {source} has {len(parts)}: {found}.")
    foreign = [name for name, atom in zip(names, atoms, strict=True) if atom.GetSymbol() not in ELEMENTS]
    if foreign:
        raise OptionError(f"Expected the elements of GAFF ({', '.join(ELEMENTS)}); {source} has {_listed(foreign)}.")
    radicals = [name for name, atom in zip(names, atoms, strict=True) if atom.GetNumRadicalElectrons()]
    if radicals:
        raise OptionError(f"Expected a closed-shell molecule; {source} has unpaired electrons at {_listed(radicals)}.")
    crowded = [name for name, atom in zip(names, atoms, strict=True) if atom.GetDegree() > _most_neighbours(atom)]
    if crowded:
        raise OptionError(
            f"Expected at most four bonds to an atom, and one to H and halogens, as in GAFF; {source} has more at "
            f"{_listed(crowded)}."
        )
    ions = [name for name, atom in zip(names, atoms, strict=True) if _is_carbon_ion(atom)]
    if ions:
        raise OptionError(f"Expected a molecule without carbocations and carbanions; {source} has {_listed(ions)}.")
    isotopes = [name for name, atom in zip(names, atoms, strict=True) if atom.GetIsotope()]
    if isotopes:
        raise OptionError(
            f"Expected no isotopes, since masses do not change the Boltzmann distribution; {source} has them at "
            f"{_listed(isotopes)}."
        )
    if len(atoms) < 3:
        raise OptionError(f"Expected at least three atoms, hydrogens included; {source} has {len(atoms)}.")


def _most_neighbours(atom: Any) -> int:
    return 1 if atom.GetSymbol() in ("H", "F", "Cl", "Br", "I") else 4


def _is_carbon_ion(atom: Any) -> bool:
    """Whether a carbon has a charge that no neighbour compensates, as in an isonitrile; GAFF has no such types."""
    charge = atom.GetFormalCharge()
    return (
        atom.GetSymbol() == "C" and charge != 0 and all(n.GetFormalCharge() * charge >= 0 for n in atom.GetNeighbors())
    )


def _check_stereo(molecule: Any, source: str) -> None:
    from rdkit.Chem import EnumerateStereoisomers

    chem, names = _rdkit(), names_of(molecule)
    places = [
        place
        for info in chem.FindPotentialStereo(molecule)
        if info.specified == chem.StereoSpecified.Unspecified and (place := _place(molecule, info, names))
    ]
    options = EnumerateStereoisomers.StereoEnumerationOptions(unique=True, maxIsomers=ISOMERS)
    isomers = EnumerateStereoisomers.EnumerateStereoisomers(chem.RemoveHs(molecule), options=options)
    written = sorted({chem.MolToSmiles(isomer) for isomer in isomers})
    if places and len(written) > 1:  # of a cage's corners, for example, there is one arrangement only
        raise OptionError(
            f"Expected the stereochemistry of each centre and double bond; {source} leaves {_listed(places)} open: "
            f"write one of {', '.join(written)}{', …' if len(written) == ISOMERS else ''}."
        )


def _place(molecule: Any, info: Any, names: Sequence[str]) -> str:
    """The name of a stereocentre, or those of a double bond's atoms; empty if the bond has one isomer only.

    Cumulated bonds are linear, and the hydrogen of an imine changes its side in water.
    """
    if not str(info.type).startswith("Bond"):
        return names[int(info.centeredOn)]
    bond = molecule.GetBondWithIdx(info.centeredOn)
    ends = (bond.GetBeginAtom(), bond.GetEndAtom())
    for end in ends:
        neighbours = {neighbour.GetSymbol() for neighbour in end.GetNeighbors()}
        if str(end.GetHybridization()) == "SP" or (end.GetSymbol() == "N" and "H" in neighbours):
            return ""
    return "=".join(names[int(end.GetIdx())] for end in ends)


def _warn_of_protonation(molecule: Any, source: str) -> None:
    chem, names = _rdkit(), names_of(molecule)
    found = [
        f"{group} at {names[match[-1]]}"
        for group, smarts in _MOSTLY_CHARGED.items()
        for match in molecule.GetSubstructMatches(chem.MolFromSmarts(smarts))
    ]
    if found:
        warnings.warn(
            f"{source} is used as written, with formal charge {chem.GetFormalCharge(molecule):+d}; in water at pH 7 "
            f"most molecules have a charge at the {_listed(found)}.",
            stacklevel=_CALLER,
        )


def _warn_of_double_bonds(molecule: Any, source: str) -> None:
    names = names_of(molecule)
    found = ["=".join(names[i] for i in place) for place in stereo_labels(molecule) if len(place) == 2]
    if found:
        warnings.warn(
            f"{source} has E and Z isomers at {_listed(found)}: the reference structure has the one that is written, "
            "but samples contain both, with the weights of the force field; select frames by the torsion.",
            stacklevel=_CALLER,
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
