"""Builds an `openmm.System` from a topology and a force field, with errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import openmm
from openmm import app

from boltzflow.errors import OptionError, TemplateError
from boltzflow.molecules.forcefields import one_line
from boltzflow.molecules.templates import no_template

Constraints = Literal["none", "HBonds", "AllBonds", "HAngles"]

CONSTRAINTS = {"none": None, "HBonds": app.HBonds, "AllBonds": app.AllBonds, "HAngles": app.HAngles}


def create_system(
    topology: app.Topology, field: app.ForceField, files: Sequence[str], constraints: Constraints | None
) -> openmm.System:
    """Create the System of a molecule, without cutoff and without a CMMotionRemover.

    Args:
        topology: of the molecule.
        field: the force field.
        files: the names of its files, for messages.
        constraints: the kind of constraints on bonds and angles; None for none.

    Raises:
        OptionError: if the kind of constraints is unknown.
        TemplateError: if the force field lacks a residue; names the first such residue and says what to do.
    """
    constraints = constraints or "none"
    if constraints not in CONSTRAINTS:
        raise OptionError(f"Expected one of the constraints {', '.join(CONSTRAINTS)}; got {constraints!r}.")
    try:
        system = field.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=CONSTRAINTS[constraints],
            rigidWater=constraints != "none",
            removeCMMotion=False,
        )
    except Exception as error:  # OpenMM raises several types, plain Exception among them
        # OpenMM gives the residue's index. A residue without its own template may match one through a patch.
        unknown = re.search(r"No template found for residue (\d+) ", str(error))
        if unknown is not None:
            residue = list(topology.residues())[int(unknown[1])]
            raise TemplateError(no_template(residue, field, files)) from None
        raise TemplateError(f"The force field {', '.join(files)} does not fit: {one_line(error)}.") from None
    _number_types_by_appearance(system)
    return system


def _number_types_by_appearance(system: openmm.System) -> None:
    """Renumber Lennard-Jones types in the order of the atoms.

    OpenMM numbers them in the iteration order of a set of strings, which differs between processes. Without
    renumbering, the same molecule would give a different System after a restart, and a run could not be resumed.
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
