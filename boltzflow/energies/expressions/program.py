"""Evaluates expressions in torch; common subexpressions are computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from boltzflow.energies.expressions.expression import OPERATORS, Expression, Value, call, constant, variable, walk
from boltzflow.energies.expressions.functions import FUNCTIONS
from boltzflow.energies.expressions.tables import Table


class _Step(NamedTuple):
    """A number (float), a variable (str), a function (str, with arguments) or a table (int, with arguments)."""

    what: float | str | int
    arguments: tuple[int, ...]


class Program(nn.Module):
    """Evaluates several expressions together; common subexpressions are computed once.

    Differentiable to any order. Gradients come from symbolic derivatives of the expressions. Automatic differentiation
    would also go through branches that are not selected, and give NaN if one of them is infinite.

    Args:
        outputs: the expressions.

    Attributes:
        variables: names of the variables that the expressions depend on.

    >>> import torch
    >>> from boltzflow.energies.expressions import parse
    >>> energy = parse("k*x^2")
    >>> Program([energy, energy.derivative("x")])({"x": torch.tensor(3.0), "k": 0.5})
    (tensor(4.5000), tensor(3.))
    """

    def __init__(self, outputs: Sequence[Expression]) -> None:
        super().__init__()
        self.variables = sorted(frozenset().union(*(output.variables for output in outputs)))
        self.tables = nn.ModuleList()
        self._steps: list[_Step] = []
        slots: dict[tuple[type, _Step], int] = {}  # equal operations on equal arguments share one slot
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
        self._derivatives = nn.ModuleDict()

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
        """values: one for each variable → the values of the expressions; constant ones are Python numbers."""
        if torch.is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in values.values()):
            outputs: tuple[Value, ...] = _WithDerivatives.apply(self, *(values[name] for name in self.variables))  # type: ignore[no-untyped-call]
            return outputs
        return self.evaluate(values)

    def evaluate(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """The same values as from a call, evaluated operation by operation."""
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

    def derivative(self, name: str) -> Program:
        """The derivatives of all expressions with respect to one variable, in this program's dtype and device."""
        key = f"by_{name}"  # the prefix avoids clashes with attributes of modules
        if key not in self._derivatives:
            nodes: list[Expression] = []
            for what, arguments in self._steps:
                inputs = [nodes[i] for i in arguments]
                if isinstance(what, float):
                    nodes.append(constant(what))
                elif isinstance(what, int):
                    nodes.append(call(cast(Table, self.tables[what]).function(f"table{what}"), *inputs))
                elif not inputs:
                    nodes.append(variable(what))
                else:
                    nodes.append(call(OPERATORS.get(what) or FUNCTIONS[what], *inputs))
            self._derivatives[key] = Program([nodes[i].derivative(name) for i in self._outputs])
        return cast(Program, self._derivatives[key])


class _WithDerivatives(torch.autograd.Function):
    """The values of a program, with gradients that are programs too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(program: Program, *values: Value) -> tuple[Value, ...]:
        outputs = program.evaluate(dict(zip(program.variables, values, strict=True)))
        return tuple(out.view_as(out) if isinstance(out, Tensor) else out for out in outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Value, ...]) -> None:
        ctx.program, *values = inputs
        ctx.numbers = [None if isinstance(value, Tensor) else value for value in values]
        tensors = [value for value in values if isinstance(value, Tensor)]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.outputs = len(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        values = _values(ctx)
        gradients: list[Tensor | None] = []
        for name, is_needed in zip(ctx.program.variables, ctx.needs_input_grad[1:], strict=True):
            slopes = ctx.program.derivative(name)(values) if is_needed else [0.0] * ctx.outputs
            total = _weighted_sum(grads, slopes)
            gradients.append(None if total is None else total.sum_to_size(torch.as_tensor(values[name]).shape))
        return None, *gradients

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        values = _values(ctx)
        moved = {name: t for name, t in zip(ctx.program.variables, tangents, strict=True) if t is not None}
        slopes = [ctx.program.derivative(name)(values) for name in moved]
        return tuple(_weighted_sum(list(moved.values()), row) for row in zip(*slopes, strict=True))


def _values(ctx: Any) -> dict[str, Value]:
    tensors = iter(ctx.saved_tensors)
    return {name: next(tensors) if x is None else x for name, x in zip(ctx.program.variables, ctx.numbers, strict=True)}


def _weighted_sum(weights: Sequence[Tensor | None], slopes: Sequence[Value]) -> Tensor | None:
    """Σ weight · slope, without non-finite slopes of zero weight; None if no term is left."""
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight is None or (isinstance(slope, float) and slope == 0.0):
            continue
        if isinstance(slope, Tensor):
            slope = torch.where((weight == 0.0) & ~slope.isfinite(), 0.0, slope)
        total = weight * slope if total is None else total + weight * slope
    return total
