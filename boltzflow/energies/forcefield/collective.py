"""Functions of collective variables, each of which is defined by a force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import openmm
import torch
from torch import Tensor, nn

from boltzflow.energies.expressions import Expression, Program
from boltzflow.energies.forcefield.term import Term, unsupported
from boltzflow.energies.forcefield.translation import Translation


class CollectiveVariables(Term):
    """An expression of the energies of other terms.

    Args:
        variables: the terms whose energies add up to each variable.
        energy: a function of them, kJ/mol.
    """

    def __init__(self, variables: Mapping[str, Sequence[Term]], energy: Expression) -> None:
        super().__init__()
        self.names = list(variables)
        self.variables = nn.ModuleList(nn.ModuleList(terms) for terms in variables.values())
        self.program = Program([energy, *(energy.derivative(name) for name in self.names)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values: dict[str, Tensor | float] = {}
        forces = []
        for name, terms in zip(self.names, self.variables, strict=True):
            value, force = torch.zeros_like(x[0, 0]), torch.zeros_like(x)
            for term in terms:  # type: ignore[attr-defined]
                energy, part = term(x)
                value, force = value + energy, force + part
            values[name] = value
            forces.append(force)
        energy, *slopes = self.program(values)
        total = torch.zeros_like(x)
        for slope, force in zip(slopes, forces, strict=True):
            total = total + slope * force
        return energy + torch.zeros_like(x[0, 0]), total


def custom_cv(force: openmm.CustomCVForce, system: Translation) -> list[Term]:
    """Translates a CustomCVForce over forces that are translated themselves."""
    names = [force.getCollectiveVariableName(i) for i in range(force.getNumCollectiveVariables())]
    energy = system.expression(force, force.getEnergyFunction())
    unknown = energy.variables - set(names)
    if unknown:
        raise unsupported(force, f"its expression contains the unknown name {min(unknown)}")
    inside = system.inside(force)
    variables = {name: inside.terms(force.getCollectiveVariable(i)) for i, name in enumerate(names)}
    return [CollectiveVariables(variables, energy)]
