"""Structures as records of an SD file, with bond orders from RDKit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mdtraj
import numpy as np

from boltzflow.errors import OptionError
from boltzflow.handover import optional


def sd_records(structures: mdtraj.Trajectory, fields: Sequence[Mapping[str, Any]], charge: int) -> str:
    """The text of an SD file.

    Args:
        structures: k frames.
        fields: for each frame, the data fields by name; the first one is the title too.
        charge: of the molecule.

    Raises:
        MissingDependencyError: if RDKit is not installed.
        OptionError: if no bond orders fit the bonds and the charge.
    """
    chem = optional("rdkit.Chem", "An SD file")
    orders = optional("rdkit.Chem.rdDetermineBonds", "An SD file")
    molecule = chem.RWMol()
    for atom in structures.topology.atoms:
        made = chem.Atom(atom.element.number)
        made.SetNoImplicit(True)  # all hydrogens are there
        molecule.AddAtom(made)
    for bond in structures.topology.bonds:
        molecule.AddBond(bond.atom1.index, bond.atom2.index, chem.BondType.SINGLE)
    for xyz in structures.xyz.astype(np.float64):
        conformer = chem.Conformer(structures.n_atoms)
        conformer.SetPositions(10.0 * xyz)  # nm → Å
        molecule.AddConformer(conformer, assignId=True)
    try:
        orders.DetermineBondOrders(molecule, charge=charge)
    except ValueError as error:
        raise OptionError(f"Expected bonds and a charge that bond orders fit; got the charge {charge}.") from error
    chem.AssignStereochemistryFrom3D(molecule)
    records = []
    for conformer, row in zip(molecule.GetConformers(), fields, strict=True):
        molecule.SetProp("_Name", str(next(iter(row.values()))))
        block = chem.MolToMolBlock(molecule, confId=conformer.GetId(), kekulize=True)
        data = "".join(f">  <{name}>\n{value}\n\n" for name, value in row.items())
        records.append(f"{block}{data}$$$$\n")
    return "".join(records)
