"""The expressions of OpenMM's custom forces: parsed, differentiated and evaluated in torch, without `eval`."""

from boltzflow.energies.expressions.expression import Expression, Function, call, constant, variable
from boltzflow.energies.expressions.parser import Macro, parse
from boltzflow.energies.expressions.program import Program
from boltzflow.energies.expressions.tables import DiscreteTable, SplineTable, Table, spline_coefficients

__all__ = [
    "DiscreteTable",
    "Expression",
    "Function",
    "Macro",
    "Program",
    "SplineTable",
    "Table",
    "call",
    "constant",
    "parse",
    "spline_coefficients",
    "variable",
]
