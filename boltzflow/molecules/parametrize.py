"""From a topology and a force field to an `openmm.System`, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openmm
from openmm import app

from boltzflow.errors import OptionError, TemplateError

Constraints = Literal["none", "HBonds", "AllBonds", "HAngles"]

CONSTRAINTS = {"none": None, "HBonds": app.HBonds, "AllBonds": app.AllBonds, "HAngles": app.HAngles}


ForceFieldFiles = Sequence[str | Path] | str | Path
"""Names of OpenMM's force-field files or paths; one alone needs no list."""


def file_names(files: ForceFieldFiles) -> tuple[str, ...]:
    """The names of force-field files."""
    return (str(files),) if isinstance(files, str | Path) else tuple(map(str, files))


def read_forcefield(files: Sequence[str]) -> app.ForceField:
    """OpenMM's force field of these files.

    Raises:
        OptionError: if one is not known or damaged.
    """
    try:
        return app.ForceField(*files)
    except Exception as error:  # a missing file is a ValueError, a damaged one any of several parse errors
        raise OptionError(f"Cannot read the force field {', '.join(files)}: {one_line(error)}.") from None


def create_system(
    topology: app.Topology, field: app.ForceField, files: Sequence[str], constraints: Constraints | None
) -> openmm.System:
    """The force field's System for a molecule, without cutoff, and without remover of the centre's motion.

    Args:
        topology: of the molecule.
        field: the force field.
        files: its names, for messages.
        constraints: of bonds and angles; None for none.

    Raises:
        OptionError: if the constraints are not known.
        TemplateError: naming the first residue that the force field does not know, and what to do.
    """
    constraints = constraints or "none"
    if constraints not in CONSTRAINTS:
        raise OptionError(f"Expected constraints {', '.join(CONSTRAINTS)}; got {constraints!r}.")
    unknown = field.getUnmatchedResidues(topology)
    if unknown:
        raise TemplateError(_no_template(unknown[0], field, files))
    try:
        system = field.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=CONSTRAINTS[constraints],
            rigidWater=constraints != "none",
            removeCMMotion=False,
        )
    except ValueError as error:
        raise TemplateError(f"The force field {', '.join(files)} does not fit: {one_line(error)}.") from None
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


def _no_template(residue: app.topology.Residue, field: app.ForceField, files: Sequence[str]) -> str:
    """Which atoms a residue lacks, or has too many, and what to do."""
    names = {atom.name for atom in residue.atoms()}
    where = f"residue {residue.name} {residue.id} (chain {residue.chain.id}, {len(names)} atoms)"
    known = {
        name: {atom.name for atom in template.atoms}
        for name, template in field._templates.items()
        if name in (residue.name, f"N{residue.name}", f"C{residue.name}")
    }
    if not known:
        advice = "Choose a force field that knows it, or pass a ready openmm.System."
        return f"The force field {', '.join(files)} has no template for {where} or any residue of that name. {advice}"
    nearest = min(known, key=lambda name: len(known[name] ^ names))
    missing, extra = sorted(known[nearest] - names), sorted(names - known[nearest])
    parts = [f"{', '.join(missing)} missing"] if missing else []
    parts += [f"{', '.join(extra)} too many"] if extra else []
    found = " and ".join(parts) or "all atoms there, but other bonds, such as none to the next residue or a disulfide"
    only_hydrogens = not extra and all(name.lstrip("0123456789").startswith("H") for name in missing)
    advice = (
        "Ask for hydrogens with hydrogens_at_ph=7.0"
        if only_hydrogens
        else "Add missing atoms (PDBFixer), name the residue after its protonation state, or pass a ready openmm.System"
    )
    return (
        f"The force field {', '.join(files)} has no template for {where}: beside its template {nearest} there are "
        f"{found}. {advice}."
    )


def one_line(error: Exception) -> str:
    """An error's text without line breaks and final stop."""
    return " ".join(str(error).split()).rstrip(".")
