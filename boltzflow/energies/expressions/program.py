"""Expressions evaluated in torch, common parts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from boltzflow.energies.expressions.expression import OPERATORS, Expression, Value, walk
from boltzflow.energies.expressions.functions import FUNCTIONS
from boltzflow.energies.expressions.tables import Table


class _Step(NamedTuple):
    """A number (float), a variable (str), a function (str, with arguments) or a table (int, with arguments)."""

    what: float | str | int
    arguments: tuple[int, ...]


class Program(nn.Module):
    """Evaluates several expressions at once; what they share is computed once.

    Args:
        outputs: the expressions.

    Attributes:
        variables: names of what the expressions depend on.

    >>> import torch
    >>> from boltzflow.energies.expressions import parse
    >>> energy = parse("k*x^2")
    >>> Program([energy, energy.derivative("x")])({"x": torch.tensor(3.0), "k": 0.5})
    (tensor(4.5000), tensor(3.))
    """

    def __init__(self, outputs: Sequence[Expression]) -> None:
        super().__init__()
        self.variables: frozenset[str] = frozenset().union(*(output.variables for output in outputs))
        self.tables = nn.ModuleList()
        self._steps: list[_Step] = []
        slots: dict[tuple[type, _Step], int] = {}  # equal operations on equal arguments have one slot
        of_node: dict[int, int] = {}
        of_table: dict[int, int] = {}
        for node in walk(outputs):
            step = self._step(node, tuple(of_node[id(a)] for a in node.arguments), of_table)
            key = type(step.what), step
            if key not in slots:
                slots[key] = len(self._steps)
                self._steps.append(step)
            of_node[id(node)] = slots[key]
        self._outputs = [of_node[id(output)] for output in outputs]

    def _step(self, node: Expression, arguments: tuple[int, ...], of_table: dict[int, int]) -> _Step:
        if node.function is None:
            assert node.leaf is not None
            return _Step(node.leaf, ())
        table = node.function.evaluate
        if not isinstance(table, Table):
            return _Step(node.function.name, arguments)
        if id(table) not in of_table:
            of_table[id(table)] = len(self.tables)
            self.tables.append(table)
        return _Step(of_table[id(table)], arguments)

    def forward(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """values: of each variable → the values of the expressions; one that is a number is a Python number."""
        slots: list[Value] = []
        for what, arguments in self._steps:
            inputs = [slots[i] for i in arguments]
            if isinstance(what, float):
                slots.append(what)
            elif isinstance(what, int):
                slots.append(self.tables[what](*inputs))
            elif not inputs:
                slots.append(values[what])
            else:
                slots.append((OPERATORS.get(what) or FUNCTIONS[what]).evaluate(*inputs))
        return tuple(slots[i] for i in self._outputs)
