"""Conformers of a small molecule."""

from __future__ import annotations

from typing import Any

import numpy as np

from boltzflow.arrays import Array
from boltzflow.errors import ConvergenceError

CONFORMERS = 20
"""How many conformers are made."""

_SEED = 0


def conformers(molecule: Any) -> Array:
    """Conformers (n, N, 3) of a molecule with all hydrogens, in nm; always the same.

    They are embedded by ETKDGv3 (Wang et al. 2020, doi 10.1021/acs.jcim.0c00025) and relaxed in MMFF94s, without its
    electrostatics, so that no conformer folds because it is in vacuum.

    Raises:
        ConvergenceError: if no conformer is found.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import AllChem

    copy = Chem.Mol(molecule)
    options = AllChem.ETKDGv3()
    options.randomSeed = _SEED
    with rdBase.BlockLogs():
        found = list(AllChem.EmbedMultipleConfs(copy, CONFORMERS, options))
        if not found:
            options.useRandomCoords = True
            found = list(AllChem.EmbedMultipleConfs(copy, CONFORMERS, options))
        terms = AllChem.MMFFGetMoleculeProperties(copy, mmffVariant="MMFF94s")
    if not found:
        raise ConvergenceError(f"RDKit found no conformer of {Chem.MolToSmiles(Chem.RemoveHs(molecule))}.")
    if terms is not None:  # MMFF knows all atom types
        terms.SetMMFFEleTerm(False)
        for conformer in found:
            AllChem.MMFFGetMoleculeForceField(copy, terms, confId=conformer).Minimize(maxIts=1000)
    return np.stack([copy.GetConformer(conformer).GetPositions() for conformer in found]) / 10.0


def most_extended(molecule: Any, positions: Array) -> Array:
    """The conformer (N, 3) with the weakest interactions between polar atoms: smallest Σ |q_i q_j| / r_ij.

    Charges of a folded conformer, with a hydrogen bond within the molecule, do not suit the others. This is the first
    step of the selection called ELF (“electrostatically least-interacting functional groups”). It needs rough charges
    only: those of Gasteiger.

    Args:
        molecule: an RDKit molecule.
        positions: conformers (n, N, 3).
    """
    from rdkit.Chem import AllChem

    AllChem.ComputeGasteigerCharges(molecule)
    charges = np.abs([atom.GetDoubleProp("_GasteigerCharge") for atom in molecule.GetAtoms()])
    first, second = np.triu_indices(len(charges), 1)
    distances = np.linalg.norm(positions[:, first] - positions[:, second], axis=-1)
    chosen: Array = positions[np.argmin((charges[first] * charges[second] / distances).sum(-1))]
    return chosen


def conformer_of(positions: Array) -> Any:
    """Positions (N, 3) in Å as a conformer of RDKit."""
    from rdkit import Chem

    conformer = Chem.Conformer(len(positions))
    conformer.SetPositions(np.ascontiguousarray(positions))
    return conformer
