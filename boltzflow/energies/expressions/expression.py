"""Expressions as graphs of operations, simplified during construction and differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Value = Tensor | float


@dataclass(frozen=True)
class Function:
    """A function and its derivative.

    Attributes:
        name: its name in the text of an expression.
        arity: the number of arguments.
        evaluate: tensors or numbers → tensor.
        slope: arguments and their derivatives with respect to a variable → the derivative of the value.
    """

    name: str
    arity: int
    evaluate: Callable[..., Value]
    slope: Callable[[Sequence[Expression], Sequence[Expression]], Expression]


@dataclass(frozen=True, eq=False)
class Expression:
    """A number, a variable, or a function of expressions; built by `constant`, `variable`, `call` and operators.

    Expressions are simplified as in OpenMM: 0·x, x − x and 0/x become 0, x/x becomes 1 and y/(1/x) becomes y·x, for
    every x.

    >>> r = variable("r")
    >>> str((0.5 * (r - 1.0) ** 2).derivative("r"))
    '(r - 1.0)'
    """

    leaf: float | str | None = None
    function: Function | None = None
    arguments: tuple[Expression, ...] = ()

    @property
    def number(self) -> float | None:
        """The value if this is a number, else None."""
        return self.leaf if isinstance(self.leaf, float) else None

    @property
    def variables(self) -> frozenset[str]:
        """The names of the variables that the value depends on."""
        return frozenset(node.leaf for node in walk([self]) if isinstance(node.leaf, str))

    def derivative(self, name: str) -> Expression:
        """The derivative with respect to a variable."""
        slopes: dict[int, Expression] = {}
        for node in walk([self]):  # arguments come before the nodes that use them
            slope, inner = constant(1.0 if node.leaf == name else 0.0), [slopes[id(a)] for a in node.arguments]
            if node.function is not None and any(s.number != 0.0 for s in inner):
                slope = node.function.slope(node.arguments, inner)
            slopes[id(node)] = slope
        return slopes[id(self)]

    def replace(self, values: dict[str, Expression]) -> Expression:
        """The expression with expressions substituted for variables."""
        made: dict[int, Expression] = {}
        for node in walk([self]):
            if node.function is not None:
                made[id(node)] = call(node.function, *(made[id(a)] for a in node.arguments))
            else:
                made[id(node)] = values.get(node.leaf, node) if isinstance(node.leaf, str) else node
        return made[id(self)]

    def __add__(self, other: Expression | float) -> Expression:
        other = constant(other)
        if self.number == 0.0:
            return other
        return self if other.number == 0.0 else call(ADD, self, other)

    def __sub__(self, other: Expression | float) -> Expression:
        other = constant(other)
        if other.number == 0.0:
            return self
        if self.number is None and is_same(self, other):
            return constant(0.0)
        return -other if self.number == 0.0 else call(SUBTRACT, self, other)

    def __mul__(self, other: Expression | float) -> Expression:
        other = constant(other)
        if other.number is not None and self.number is None:
            return other * self  # numbers go first, so that several of them can be merged
        if other.number is None and self.number == 0.0:
            return self
        if self.number == 1.0:
            return other
        if other.function is MULTIPLY and other.arguments[0].number is not None:
            return (self * other.arguments[0]) * other.arguments[1]
        return call(MULTIPLY, self, other)

    def __truediv__(self, other: Expression | float) -> Expression:
        other = constant(other)
        if other.number is None and self.number == 0.0:
            return self
        if other.number is None and is_same(self, other):
            return constant(1.0)
        if self.number != 1.0 and other.function is DIVIDE and other.arguments[0].number == 1.0:
            return self * other.arguments[1]
        return self if other.number == 1.0 else call(DIVIDE, self, other)

    def __pow__(self, other: Expression | float) -> Expression:
        other = constant(other)
        if other.number == 0.0:
            return constant(1.0)
        if other.number is None and self.number == 0.0:
            return self
        if other.number == -1.0:
            return 1.0 / self
        return self if other.number == 1.0 else call(POWER, self, other)

    def __neg__(self) -> Expression:
        return -1.0 * self

    def __radd__(self, other: float) -> Expression:
        return constant(other) + self

    def __rsub__(self, other: float) -> Expression:
        return constant(other) - self

    def __rmul__(self, other: float) -> Expression:
        return constant(other) * self

    def __rtruediv__(self, other: float) -> Expression:
        return constant(other) / self

    def __str__(self) -> str:
        if self.function is None:
            return str(self.leaf)
        if self.function.name in "+-*/^":
            return f"({f' {self.function.name} '.join(map(str, self.arguments))})"
        return f"{self.function.name}({', '.join(map(str, self.arguments))})"


def constant(value: Expression | float) -> Expression:
    """A number as an expression; expressions are returned unchanged."""
    return value if isinstance(value, Expression) else Expression(leaf=float(value))


def variable(name: str) -> Expression:
    """A variable."""
    return Expression(leaf=name)


def call(function: Function, *arguments: Expression) -> Expression:
    """A function applied to expressions; evaluated if all are numbers."""
    numbers = [argument.number for argument in arguments]
    if all(number is not None for number in numbers):
        value = function.evaluate(*(torch.tensor(number, dtype=torch.float64) for number in numbers))
        return constant(float(value))
    return Expression(function=function, arguments=arguments)


def is_same(one: Expression, other: Expression) -> bool:
    """Whether two expressions are structurally identical."""
    if one is other:
        return True
    if one.function is not other.function or one.leaf != other.leaf:
        return False
    return all(map(is_same, one.arguments, other.arguments))


def broadcast(*values: Value) -> tuple[Tensor, ...]:
    """Tensors and numbers, at least one a tensor, as tensors of one shape."""
    like = next(value for value in values if isinstance(value, Tensor))
    tensors = [v if isinstance(v, Tensor) else torch.full_like(like, v) for v in values]
    return tuple(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]


def walk(roots: Sequence[Expression]) -> list[Expression]:
    """All nodes of some expressions, each once, arguments before the nodes that use them."""
    order: dict[int, Expression] = {}
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, is_ready = stack.pop()
        if id(node) in order:
            continue
        if is_ready or not node.arguments:
            order[id(node)] = node
        else:
            stack += [(node, True), *((argument, False) for argument in reversed(node.arguments))]
    return list(order.values())


def _power(base: Value, exponent: Value) -> Value:
    """Powers; small integer powers as products: fast, and correct for negative bases with every compiler."""
    if isinstance(exponent, Tensor) or not float(exponent).is_integer() or abs(exponent) > 16:
        return base**exponent
    count, square, product = int(abs(exponent)), base, None
    while count:
        if count % 2:
            product = square if product is None else product * square
        count //= 2
        square = square * square if count else square
    if product is None:
        return torch.ones_like(base) if isinstance(base, Tensor) else 1.0
    return product if exponent > 0 else 1.0 / product


def _product_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    return arguments[0] * slopes[1] + arguments[1] * slopes[0]


def _quotient_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    (over, under), (by_over, by_under) = arguments, slopes
    if by_under.number == 0.0:
        return by_over / under
    return (under * by_over - over * by_under) / (under * under)


def _power_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    base, exponent = arguments
    slope = exponent * base ** (exponent - 1.0) * slopes[0]
    if slopes[1].number == 0.0:
        return slope
    return slope + call(LOG, base) * base**exponent * slopes[1]


def _or_else(value: Value, other: Value) -> Value:
    value, other = broadcast(value, other)
    return torch.where(value.isnan(), other, value)


def _or_else_slope(_arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    return call(OR_ELSE, *slopes)


ADD = Function("+", 2, lambda a, b: a + b, lambda _, slopes: slopes[0] + slopes[1])
SUBTRACT = Function("-", 2, lambda a, b: a - b, lambda _, slopes: slopes[0] - slopes[1])
MULTIPLY = Function("*", 2, lambda a, b: a * b, _product_slope)
DIVIDE = Function("/", 2, lambda a, b: a / b, _quotient_slope)
LOG = Function("log", 1, torch.log, lambda arguments, slopes: 1.0 / arguments[0] * slopes[0])
"""The logarithm; defined here because the derivative of a power uses it."""
POWER = Function("^", 2, _power, _power_slope)
OR_ELSE = Function("??", 2, _or_else, _or_else_slope)
"""The first argument unless it is NaN, else the second; used in derivatives only, not available in texts."""

OPERATORS = {operator.name: operator for operator in (ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, OR_ELSE)}
