"""Expressions of custom forces: grammar, derivatives, tables."""

from __future__ import annotations

import math
import pickle

import numpy as np
import openmm
import pytest
import torch
from scipy.interpolate import CubicSpline

from boltzflow.energies.expressions import DiscreteTable, Program, SplineTable, call, parse, variable
from boltzflow.energies.expressions.functions import FUNCTIONS
from boltzflow.errors import OptionError

X, Y = 0.37, -1.2


def value_of(text: str, **values: float) -> float:
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in {"x": X, "y": Y, **values}.items()}
    return float(Program([parse(text)])(tensors)[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1+2*3-4/8", 6.5),
        ("-x^2", -(X**2)),
        ("2^3^2", 512.0),
        ("2^-x", 2**-X),
        ("(x+1)^0.5", math.sqrt(X + 1)),
        ("8/4/2", 1.0),
        ("7-4-2", 1.0),
        ("--x", X),
        ("1.5e-1*.5+2.", 2.075),
        ("a+b; a=2*b; b=x", 3 * X),
        ("atan2(y, x)", math.atan2(Y, X)),
        ("min(x, y)+10*max(x, y)", Y + 10 * X),
        ("select(x, 3, 4)+10*select(0, 3, 4)", 43.0),
        ("step(x)+10*step(y)+100*step(0)", 101.0),
        ("delta(0)+10*delta(x)", 1.0),
        ("floor(y)+10*ceil(y)", -12.0),
        ("sec(x)*csc(x)*cot(x)", 1 / math.cos(X) / math.sin(X) / math.tan(X)),
        ("square(y)+cube(y)+recip(y)", Y**2 + Y**3 + 1 / Y),
        ("erf(x)+2*erfc(x)", math.erf(X) + 2 * math.erfc(X)),
        ("y^3+y^-2+x^17", Y**3 + Y**-2 + X**17),
    ],
)
def test_grammar_and_values(text: str, expected: float) -> None:
    assert value_of(text) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("text", ["1+2*3-4/8", "-x^2", "2^-x", "x^3^0.5", "select(step(x-0.3), x*y, x-y)", "abs(y)*x"])
def test_agrees_with_openmm(text: str) -> None:
    system = openmm.System()
    system.addParticle(1.0)
    force = openmm.CustomExternalForce(text)
    force.addParticle(0, [])
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.1), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[X, Y, 0.0]])
    energy = context.getState(getEnergy=True).getPotentialEnergy()._value
    assert value_of(text) == pytest.approx(energy, rel=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_automatic_differentiation(name: str) -> None:
    function = FUNCTIONS[name]
    names = ("x", "y", "z")[: function.arity]
    energy = call(function, *map(variable, names)) * parse("x^2+1")
    generator = torch.Generator().manual_seed(0)
    values = {v: 0.1 + 0.8 * torch.rand(50, dtype=torch.float64, generator=generator) for v in names}
    for tensor in values.values():
        tensor.requires_grad_()
    result, *slopes = Program([energy, *(energy.derivative(v) for v in names)])(values)
    expected = torch.autograd.grad(result.sum(), list(values.values()), allow_unused=True)  # type: ignore[union-attr]
    for slope, gradient in zip(slopes, expected, strict=True):
        gradient = torch.zeros(50, dtype=torch.float64) if gradient is None else gradient
        torch.testing.assert_close(torch.as_tensor(slope).double().expand(50), gradient, rtol=1e-12, atol=1e-12)


def test_powers_of_variables() -> None:
    energy = parse("x^y")
    assert value_of("x^y") == pytest.approx(X**Y)
    slopes = Program([energy.derivative("x"), energy.derivative("y")])(
        {"x": torch.tensor(X).double(), "y": torch.tensor(Y).double()}
    )
    assert float(slopes[0]) == pytest.approx(Y * X ** (Y - 1))
    assert float(slopes[1]) == pytest.approx(math.log(X) * X**Y)


def test_single_precision_stays_single_and_selected_numbers_keep_theirs() -> None:
    x = torch.ones(3)
    assert Program([parse("select(x, 0.1, 2)*sin(x)")])({"x": x})[0].dtype == torch.float32  # type: ignore[union-attr]
    assert float(Program([parse("select(x, 0.1, 2)")])({"x": x[0].double()})[0]) == 0.1


def test_simplifies() -> None:
    assert str(parse("0*x+1*y+0")) == "y"
    assert parse("2*3+sin(0)").number == 6.0
    assert parse("x^2").derivative("z").number == 0.0


def test_what_is_shared_is_computed_once() -> None:
    calls = []
    counted = FUNCTIONS["exp"]
    program = Program([parse("exp(x)*y+exp(x)"), parse("exp(x)")])
    original = counted.evaluate
    object.__setattr__(counted, "evaluate", lambda x: calls.append(1) or original(x))  # type: ignore[func-returns-value]
    try:
        program({"x": torch.tensor(1.0), "y": torch.tensor(2.0)})
    finally:
        object.__setattr__(counted, "evaluate", original)
    assert len(calls) == 1


def test_programs_are_pickled() -> None:
    program = pickle.loads(pickle.dumps(Program([parse("sin(x)^2")])))
    assert float(program({"x": torch.tensor(0.5)})[0]) == pytest.approx(math.sin(0.5) ** 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1+", "Expected a number, a name or '\\('.*got the end"),
        ("(1+2", "Expected '\\)'.*got the end"),
        ("1 2", "Expected an operator or the end.*got '2'"),
        ("foo(1)", "Expected known functions.*got 'foo'"),
        ("sin(1, 2)", "Expected 1 arguments of sin.*got 2"),
        ("x; y", "Expected name=expression"),
        ("x & y", "Expected a number, a name or an operator at '& y'"),
        ("__import__('os')", "Expected a number, a name or an operator"),
        ("", "Expected an expression"),
    ],
)
def test_refuses_what_is_no_expression(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(text)


# -- tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [False, True])
def test_splines_in_one_dimension(periodic: bool) -> None:
    values = np.random.default_rng(0).standard_normal(9)
    if periodic:
        values[-1] = values[0]
    table = SplineTable(values, [-1.0], [3.0], periodic)
    reference = CubicSpline(np.linspace(-1, 3, 9), values, bc_type="periodic" if periodic else "natural")
    x = np.linspace(-1.9, 4.2, 57)
    inside = np.ones(57, bool) if periodic else (x >= -1) & (x <= 3)
    for order, part in enumerate((table, table.derivative(0), table.derivative(0).derivative(0))):
        expected = np.where(inside, reference(x, order), 0.0)
        np.testing.assert_allclose(part(torch.tensor(x)).numpy(), expected, atol=1e-10)


def test_splines_in_three_dimensions_have_the_derivatives_of_their_values() -> None:
    rng = np.random.default_rng(1)
    table = SplineTable(rng.standard_normal((4, 5, 6)), (0.0, -1.0, 2.0), (1.0, 1.0, 5.0), False)
    points = [torch.tensor(rng.uniform(low, high, 40)).requires_grad_() for low, high in ((0, 1), (-1, 1), (2, 5))]
    gradients = torch.autograd.grad(table(*points).sum(), points)
    for axis, gradient in enumerate(gradients):
        torch.testing.assert_close(table.derivative(axis)(*points), gradient, rtol=1e-10, atol=1e-10)


def test_a_spline_of_what_is_no_number_is_none() -> None:
    table = SplineTable(np.arange(5.0), [0.0], [1.0], False)
    assert table(torch.tensor([torch.nan, 2.0])).isnan().tolist() == [True, False]


def test_discrete_tables() -> None:
    table = DiscreteTable(np.arange(6.0).reshape(2, 3))
    column = torch.tensor([0.0, 1.0, 2.0, 3.0])
    out = table(1.0, column)
    assert out[:3].tolist() == [3.0, 4.0, 5.0]
    assert out[3].isnan()
