"""Small molecules from SMILES, or from files without parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openmm.unit as u

from boltzflow.arrays import Array
from boltzflow.errors import TopologyError
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.conformers import conformer_of, conformers, most_extended
from boltzflow.molecules.readers.gaff import (
    ChargeModel,
    GaffVersion,
    LigandSolvent,
    check_options,
    parametrised,
)
from boltzflow.molecules.readers.minimum import minimised
from boltzflow.molecules.readers.molecule import molecule_from_file, molecule_from_smiles, names_of, stereo_labels
from boltzflow.molecules.readers.reading import Parts


def from_smiles(
    smiles: str,
    forcefield: GaffVersion,
    charges: ChargeModel,
    implicit_solvent: LigandSolvent,
    constraints: Constraints | None,
) -> Parts:
    """See `MolecularSystem.from_smiles`."""
    molecule = molecule_from_smiles(smiles)
    check_options(forcefield, charges, implicit_solvent, constraints)
    shapes = conformers(molecule)
    extended = most_extended(molecule, shapes)
    parts = parametrised(molecule, extended, forcefield, charges, implicit_solvent, constraints)
    best = min((minimised(parts.system, shape * u.nanometer) for shape in shapes), key=lambda minimum: minimum.energy)
    check_isomer(molecule, best.positions.value_in_unit(u.angstrom), smiles)
    return parts._replace(positions=best.positions)


def from_molfile(
    path: str | Path,
    add_hydrogens: bool,
    forcefield: GaffVersion,
    charges: ChargeModel,
    implicit_solvent: LigandSolvent,
    constraints: Constraints | None,
) -> Parts:
    """See `MolecularSystem.from_molfile`."""
    molecule = molecule_from_file(path, add_hydrogens)
    check_options(forcefield, charges, implicit_solvent, constraints)
    extended = most_extended(molecule, conformers(molecule))
    parts = parametrised(molecule, extended, forcefield, charges, implicit_solvent, constraints)
    return parts._replace(positions=molecule.GetConformer().GetPositions() * u.angstrom)


def check_isomer(molecule: Any, positions: Array, smiles: str) -> None:
    """Raise a TopologyError if the positions (Å) are those of another stereoisomer than the molecule."""
    from rdkit import Chem

    placed = Chem.Mol(molecule)
    placed.AddConformer(conformer_of(positions))
    labels = stereo_labels(placed)
    wrong = [place for place, label in stereo_labels(molecule).items() if labels.get(place) != label]
    if wrong:
        names = names_of(molecule)
        raise TopologyError(
            f"Expected the stereoisomer {smiles}; the minimised structure has another configuration at "
            f"{'='.join(names[i] for i in wrong[0])}."
        )
