"""From a PDB file and a force field to an `openmm.System`, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openmm
from openmm import app

from boltzflow.errors import FileFormatError, OptionError, SystemNotFoundError, TemplateError

Constraints = Literal["none", "HBonds", "AllBonds", "HAngles"]

_CONSTRAINTS = {"none": None, "HBonds": app.HBonds, "AllBonds": app.AllBonds, "HAngles": app.HAngles}


def read_pdb(path: Path) -> app.PDBFile:
    """The topology and positions of a PDB file.

    Raises:
        SystemNotFoundError: if there is no such file.
        FileFormatError: if it is not a PDB file with atoms.
    """
    if not path.is_file():
        raise SystemNotFoundError(f"No such PDB file: {path}.")
    try:
        with path.open(encoding="utf-8") as file:
            return app.PDBFile(file)
    except Exception as error:  # OpenMM's reader lets any Python error through
        raise FileFormatError(
            f"Expected a PDB file with atoms in {path}; reading it failed: {_one_line(error)}."
        ) from None


def create_system(topology: app.Topology, forcefield: Sequence[str], constraints: Constraints | None) -> openmm.System:
    """The force field's System for a molecule, without cutoff, and without remover of the centre's motion.

    Raises:
        OptionError: if a force-field file is not known or the constraints are not.
        TemplateError: naming the first residue that the force field does not know, and what to do.
    """
    constraints = constraints or "none"
    if constraints not in _CONSTRAINTS:
        raise OptionError(f"Expected constraints {', '.join(_CONSTRAINTS)}; got {constraints!r}.")
    try:
        field = app.ForceField(*forcefield)
    except Exception as error:  # a missing file is a ValueError, a damaged one any of several parse errors
        raise OptionError(f"Cannot read the force field {', '.join(forcefield)}: {_one_line(error)}.") from None
    unknown = field.getUnmatchedResidues(topology)
    if unknown:
        residue = unknown[0]
        raise TemplateError(
            f"The force field {', '.join(forcefield)} has no template for residue {residue.name} {residue.id} (chain "
            f"{residue.chain.id}, {len(list(residue.atoms()))} atoms): add missing atoms and hydrogens (PDBFixer, or "
            "openmm.app.Modeller.addHydrogens), choose a force field that knows it, or pass a ready openmm.System."
        )
    try:
        system = field.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=_CONSTRAINTS[constraints],
            rigidWater=constraints != "none",
            removeCMMotion=False,
        )
    except ValueError as error:
        raise TemplateError(f"The force field {', '.join(forcefield)} does not fit: {_one_line(error)}.") from None
    _number_types_by_appearance(system)
    return system


def _number_types_by_appearance(system: openmm.System) -> None:
    """Renumber Lennard-Jones types in the order of the atoms.

    OpenMM numbers them as a set of strings happens to be ordered, which differs from process to process: the same
    molecule would be another System after a restart, and its run could not be resumed.
    """
    for force in system.getForces():
        if not isinstance(force, openmm.CustomNonbondedForce) or force.getName() != "LennardJones":
            continue
        types = [int(force.getParticleParameters(i)[0]) for i in range(force.getNumParticles())]
        order = list(dict.fromkeys(types))
        for index in range(force.getNumTabulatedFunctions()):
            table = force.getTabulatedFunction(index)
            columns, rows, values = table.getFunctionParameters()
            sorted_values = np.reshape(values, (rows, columns))[np.ix_(order, order)]
            table.setFunctionParameters(len(order), len(order), sorted_values.ravel().tolist())
        for particle, kind in enumerate(types):
            force.setParticleParameters(particle, [order.index(kind)])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
