"""Custom functions of pair distances."""

from __future__ import annotations

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.expressions import Expression, Program
from boltzflow.energies.forcefield.pair_expression import PairExpression, switched, truncated
from boltzflow.energies.forcefield.term import Term, unsupported
from boltzflow.energies.forcefield.translation import Translation


def custom_nonbonded(force: openmm.CustomNonbondedForce, system: Translation) -> list[Term]:
    """Translates a CustomNonbondedForce, with computed values, exclusions and interaction groups."""
    if force.getUseLongRangeCorrection() and force.usesPeriodicBoundaryConditions():
        raise unsupported(force, "its long-range correction is not translated")
    if not force.getNumParticles():
        return []
    energy = system.expression(force, force.getEnergyFunction())
    columns = _columns(force, system)
    has_cutoff = force.getNonbondedMethod() != force.NoCutoff
    cutoff = force.getCutoffDistance().value_in_unit(u.nanometer) if has_cutoff else None
    start = force.getSwitchingDistance().value_in_unit(u.nanometer) if force.getUseSwitchingFunction() else None
    energy = truncated(switched(energy, start, cutoff), cutoff)
    return [
        PairExpression(energy, pair_parameters(force, energy, columns), _counts(force, system), system.box_of(force))
    ]


def pair_parameters(force: openmm.Force, energy: Expression, columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """For each particle parameter (N,), the values of the first and second particle of a pair: (N, 1) and (1, N)."""
    parameters = {}
    for name, values in columns.items():
        parameters[f"{name}1"], parameters[f"{name}2"] = values[:, None], values[None, :]
    unknown = energy.variables - {"r"} - set(parameters)
    if unknown:
        raise unsupported(force, f"its expression contains the unknown name {min(unknown)}")
    return parameters


def _columns(force: openmm.CustomNonbondedForce, system: Translation) -> dict[str, Tensor]:
    """The particles' parameters by name, including values that expressions compute from other parameters."""
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    rows = [force.getParticleParameters(i) for i in range(system.n_atoms)]
    columns = {name: torch.tensor([row[i] for row in rows], dtype=torch.float64) for i, name in enumerate(names)}
    for i in range(force.getNumComputedValues()):
        name, text = force.getComputedValueParameters(i)
        (value,) = Program([system.expression(force, text)])(columns)
        columns[name] = torch.as_tensor(value, dtype=torch.float64).expand(system.n_atoms)
    return columns


def _counts(force: openmm.CustomNonbondedForce, system: Translation) -> Tensor:
    """How often each ordered pair is counted: (N, N)."""
    n = system.n_atoms
    counts = torch.ones(n, n, dtype=torch.float64).triu(1)
    if force.getNumInteractionGroups():
        counts = torch.zeros(n, n, dtype=torch.float64)
        for index in range(force.getNumInteractionGroups()):
            first, second = (set(members) for members in force.getInteractionGroupParameters(index))
            for i in first:
                for j in second - {i}:
                    # A pair that is in both sets occurs twice within a group, but is counted once.
                    if not (i in second and j in first and i > j):
                        counts[i, j] += 1.0
    for index in range(force.getNumExclusions()):
        i, j = force.getExclusionParticles(index)
        counts[i, j] = counts[j, i] = 0.0
    return counts
