"""The functions of OpenMM's expressions, with their derivatives.

At the corners of min, max, abs, step and select the derivative is one-sided, on the same side as in OpenMM. The branch
that is not selected does not contribute, even if it is infinite or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from boltzflow.energies.expressions.expression import (
    LOG,
    OR_ELSE,
    Expression,
    Function,
    Value,
    broadcast,
    call,
    constant,
)


def _step(x: Tensor) -> Tensor:
    return (x >= 0.0).to(x.dtype)


def _is_zero(x: Tensor) -> Tensor:
    return (x == 0.0).to(x.dtype)


def _select(condition: Tensor, there: Value, elsewhere: Value) -> Tensor:
    condition, there, elsewhere = broadcast(condition, there, elsewhere)  # plain numbers would become float32
    return torch.where(condition != 0.0, there, elsewhere)


def _smaller(a: Value, b: Value) -> Tensor:
    a, b = broadcast(a, b)
    return torch.where(a < b, a, b)


def _larger(a: Value, b: Value) -> Tensor:
    a, b = broadcast(a, b)
    return torch.where(a > b, a, b)


def _angle(y: Value, x: Value) -> Tensor:
    return torch.atan2(*broadcast(y, x))


def _function(name: str, *arguments: Expression) -> Expression:
    return call(FUNCTIONS[name], *arguments)


def _unary(name: str, evaluate: Callable[[Tensor], Tensor], slope: Callable[[Expression], Expression]) -> Function:
    return Function(name, 1, evaluate, lambda arguments, slopes: slope(*arguments) * slopes[0])


def _flat(_x: Expression) -> Expression:
    return constant(0.0)


def _choice(condition: Expression, there: Expression, elsewhere: Expression) -> Expression:
    if there.number is not None and there.number == elsewhere.number:
        return there
    return call(SELECT, condition, there, elsewhere)


def _select_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    return _choice(arguments[0], *slopes[1:])


def _smaller_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    # If both are equal, the second. If the first is NaN, OpenMM takes its derivative, though the minimum is the second.
    first = slopes[0] if slopes[0].number is not None else call(OR_ELSE, *slopes)
    return _choice(_function("step", arguments[0] - arguments[1]), slopes[1], first)


def _larger_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    return _choice(_function("step", arguments[0] - arguments[1]), *slopes)


def _angle_slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
    (y, x), (by_y, by_x) = arguments, slopes
    return (x * by_y - y * by_x) / (x * x + y * y)


SELECT = Function("select", 3, _select, _select_slope)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        _unary("sqrt", torch.sqrt, lambda x: 0.5 / _function("sqrt", x)),
        _unary("exp", torch.exp, lambda x: _function("exp", x)),
        LOG,
        _unary("sin", torch.sin, lambda x: _function("cos", x)),
        _unary("cos", torch.cos, lambda x: -_function("sin", x)),
        _unary("sec", lambda x: 1.0 / torch.cos(x), lambda x: _function("sec", x) * _function("tan", x)),
        _unary("csc", lambda x: 1.0 / torch.sin(x), lambda x: -_function("csc", x) * _function("cot", x)),
        _unary("tan", torch.tan, lambda x: _function("sec", x) ** 2),
        _unary("cot", lambda x: 1.0 / torch.tan(x), lambda x: -(_function("csc", x) ** 2)),
        _unary("asin", torch.asin, lambda x: 1.0 / _function("sqrt", 1.0 - x * x)),
        _unary("acos", torch.acos, lambda x: -1.0 / _function("sqrt", 1.0 - x * x)),
        _unary("atan", torch.atan, lambda x: 1.0 / (1.0 + x * x)),
        _unary("sinh", torch.sinh, lambda x: _function("cosh", x)),
        _unary("cosh", torch.cosh, lambda x: _function("sinh", x)),
        _unary("tanh", torch.tanh, lambda x: 1.0 - _function("tanh", x) ** 2),
        _unary("erf", torch.erf, lambda x: 2.0 / math.sqrt(math.pi) * _function("exp", -x * x)),
        _unary("erfc", torch.erfc, lambda x: -2.0 / math.sqrt(math.pi) * _function("exp", -x * x)),
        _unary("step", _step, _flat),
        _unary("delta", _is_zero, _flat),
        _unary("floor", torch.floor, _flat),
        _unary("ceil", torch.ceil, _flat),
        _unary("abs", torch.abs, lambda x: 2.0 * _function("step", x) - 1.0),
        _unary("square", torch.square, lambda x: 2.0 * x),
        _unary("cube", lambda x: x * x * x, lambda x: 3.0 * x * x),
        _unary("recip", torch.reciprocal, lambda x: -1.0 / (x * x)),
        Function("atan2", 2, _angle, _angle_slope),
        Function("min", 2, _smaller, _smaller_slope),
        Function("max", 2, _larger, _larger_slope),
        SELECT,
    )
}
"""The functions by their names in OpenMM's expressions."""
