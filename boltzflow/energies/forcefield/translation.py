"""The System-wide data that the translators of forces use."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openmm
import openmm.unit as u
import torch

from boltzflow.energies.expressions import DiscreteTable, Expression, Function, SplineTable, constant, parse
from boltzflow.energies.forcefield.term import Box, Term, unsupported
from boltzflow.errors import OptionError


class Translation:
    """The System that is translated.

    Args:
        system: the System.
        translate: returns the terms of any force, for forces that contain others.
        globals: values of global parameters; all others have their defaults.

    Attributes:
        n_atoms: the number of particles.
        masses: of each particle, dalton.
        box: the System's periodic box.
        globals_used: names of the global parameters that forces have used.
    """

    def __init__(
        self,
        system: openmm.System,
        translate: Callable[[Any, Translation], list[Term]],
        globals: Mapping[str, float] | None = None,
    ) -> None:
        self._translate = translate
        self.n_atoms: int = system.getNumParticles()
        self.masses = [system.getParticleMass(i).value_in_unit(u.dalton) for i in range(self.n_atoms)]
        self.globals = dict(globals or {})
        self.globals_used: set[str] = set()
        vectors = [v.value_in_unit(u.nanometer) for v in system.getDefaultPeriodicBoxVectors()]
        self.box: Box = torch.tensor(np.array(vectors), dtype=torch.float64)

    def box_of(self, force: openmm.Force) -> Box | None:
        """The periodic box if the force uses one, else None."""
        return self.box if force.usesPeriodicBoundaryConditions() else None

    def terms(self, force: openmm.Force) -> list[Term]:
        """The terms of another force."""
        return self._translate(force, self)

    def inside(self, force: Any) -> Translation:
        """The same for the forces inside a force: its global parameters override their defaults."""
        inner = copy.copy(self)
        inner.globals = {**self.globals, **self.global_parameters(force)}
        return inner

    def global_parameters(self, force: Any) -> dict[str, float]:
        """The values of a force's global parameters."""
        names = [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]
        self.globals_used.update(names)
        return {
            name: float(self.globals.get(name, force.getGlobalParameterDefaultValue(i))) for i, name in enumerate(names)
        }

    def expression(self, force: Any, text: str, macros: Mapping[str, Any] | None = None) -> Expression:
        """Parse an expression of a force, with its tables as functions and its global parameters as numbers.

        Raises:
            UnsupportedForceError: if the expression cannot be parsed.
        """
        try:
            read = parse(text, {**self.tables(force), **(macros or {})})
        except OptionError as error:
            raise unsupported(force, str(error).rstrip(".")) from None
        return read.replace({name: constant(value) for name, value in self.global_parameters(force).items()})

    def tables(self, force: Any) -> dict[str, Function]:
        """The tabulated functions of a force.

        Raises:
            UnsupportedForceError: if the kind of a table is unknown.
        """
        found: dict[str, Function] = {}
        if not hasattr(force, "getNumTabulatedFunctions"):  # not all kinds of forces can have them
            return found
        for i in range(force.getNumTabulatedFunctions()):
            name, table = force.getTabulatedFunctionName(i), force.getTabulatedFunction(i)
            found[name] = _read_table(force, name, table)
        return found


def _read_table(force: openmm.Force, name: str, table: Any) -> Function:
    kind, parameters = type(table).__name__, table.getFunctionParameters()
    if kind == "Continuous1DFunction":
        values, low, high = parameters
        return SplineTable(np.array(values), [low], [high], table.getPeriodic()).function(name)
    if kind in ("Continuous2DFunction", "Continuous3DFunction"):
        n = 2 if kind == "Continuous2DFunction" else 3
        bounds = parameters[n + 1 :]
        values = _grid(parameters[:n], parameters[n])
        return SplineTable(values, bounds[::2], bounds[1::2], table.getPeriodic()).function(name)
    if kind == "Discrete1DFunction":
        return DiscreteTable(np.array(parameters)).function(name)
    if kind in ("Discrete2DFunction", "Discrete3DFunction"):
        *sizes, values = parameters
        return DiscreteTable(_grid(sizes, values)).function(name)
    raise unsupported(force, f"its table {name} is a {kind}")


def _grid(sizes: Any, values: Any) -> Any:
    """Values on a grid with the axes in order of the arguments; in OpenMM the first argument runs fastest."""
    return np.array(values).reshape(*reversed(sizes)).T
