"""The functions that OpenMM's expressions know, with their derivatives.

At the corners of min, max, abs, step and select the derivative is that of one of the sides, as in OpenMM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from boltzflow.energies.expressions.expression import Expression, Function, Value, broadcast, call, constant


def _step(x: Tensor) -> Tensor:
    return (x >= 0.0).to(x.dtype)


def _is_zero(x: Tensor) -> Tensor:
    return (x == 0.0).to(x.dtype)


def _select(condition: Tensor, there: Value, elsewhere: Value) -> Tensor:
    condition, there, elsewhere = broadcast(condition, there, elsewhere)  # bare numbers would be taken as float32
    return torch.where(condition != 0.0, there, elsewhere)


def _smaller(a: Value, b: Value) -> Tensor:
    return _select(_step(_difference(b, a)), a, b)


def _larger(a: Value, b: Value) -> Tensor:
    return _select(_step(_difference(a, b)), a, b)


def _difference(a: Value, b: Value) -> Tensor:
    difference = a - b
    assert isinstance(difference, Tensor)  # two numbers have been folded
    return difference


def _angle(y: Value, x: Value) -> Tensor:
    return torch.atan2(*broadcast(y, x))


def _function(name: str, *arguments: Expression) -> Expression:
    return call(FUNCTIONS[name], *arguments)


def _unary(name: str, evaluate: Callable[[Tensor], Tensor], slope: Callable[[Expression], Expression]) -> Function:
    return Function(name, 1, evaluate, lambda x: [slope(x)])


def _flat(_x: Expression) -> Expression:
    return constant(0.0)


def _select_partials(condition: Expression, _there: Expression, _elsewhere: Expression) -> Sequence[Expression]:
    one, zero = constant(1.0), constant(0.0)
    return [zero, call(SELECT, condition, one, zero), call(SELECT, condition, zero, one)]


def _smaller_partials(a: Expression, b: Expression) -> Sequence[Expression]:
    first = _function("step", b - a)
    return [first, 1.0 - first]


def _larger_partials(a: Expression, b: Expression) -> Sequence[Expression]:
    first = _function("step", a - b)
    return [first, 1.0 - first]


SELECT = Function("select", 3, _select, _select_partials)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        _unary("sqrt", torch.sqrt, lambda x: 0.5 / _function("sqrt", x)),
        _unary("exp", torch.exp, lambda x: _function("exp", x)),
        _unary("log", torch.log, lambda x: 1.0 / x),
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
        Function("atan2", 2, _angle, lambda y, x: [x / (x * x + y * y), -y / (x * x + y * y)]),
        Function("min", 2, _smaller, _smaller_partials),
        Function("max", 2, _larger, _larger_partials),
        SELECT,
    )
}
"""By their names in OpenMM's expressions."""
