"""Domain: construction, reading, arithmetic on circles, and its error messages."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boltzflow.core import Domain
from boltzflow.core.domain import wrap
from boltzflow.errors import DomainError, ShapeError

MIXED = Domain.real(1, names=["x"]) + Domain.circle(1, names=["phi"]) + Domain.interval(1.0, 3.0, names=["b"])


def test_joins_and_indexes() -> None:
    assert len(MIXED) == 3
    assert MIXED.indices("circle") == (1,)
    assert MIXED[1:] == Domain.circle(1) + Domain.interval(1.0, 3.0)
    assert MIXED[[2, 0]].names == ("b", "x")
    assert MIXED[1].names == ("phi",)


def test_equality_ignores_names_but_not_bounds() -> None:
    assert Domain.circle(1, names=["a"]) == Domain.circle(1, names=["b"])
    assert Domain.interval(0.0, 1.0) != Domain.interval(0.0, 2.0)
    assert hash(Domain.circle(1, names=["a"])) == hash(Domain.circle(1))


def test_contains_only_finite_states_inside_intervals() -> None:
    x = torch.tensor([[0.0, 9.0, 1.0], [0.0, 0.0, 3.1], [math.nan, 0.0, 2.0], [0.0, math.inf, 2.0], [0.0, 0.0, 0.99]])
    assert MIXED.contains(x).tolist() == [True, False, False, False, False]


def test_features_are_periodic_and_scaled() -> None:
    x = torch.tensor([[0.5, 1.0, 1.0], [0.5, 1.0 + 2 * math.pi, 3.0]], dtype=torch.float64)
    one, other = MIXED.features(x)
    assert one.tolist() == pytest.approx([0.5, -1.0, math.cos(1.0), math.sin(1.0)])
    assert other.tolist() == pytest.approx([0.5, 1.0, math.cos(1.0), math.sin(1.0)])
    assert MIXED.feature_size == 4


def test_array_domain_checks_shapes() -> None:
    images = Domain.real((3, 8, 8))
    images.check(torch.zeros(2, 3, 8, 8), "here")
    with pytest.raises(ShapeError, match=r"here: expected states of shape \(batch, 3, 8, 8\).*got \(2, 3\)"):
        images.check(torch.zeros(2, 3), "here")


@given(st.floats(-100.0, 100.0), st.floats(-100.0, 100.0))
def test_shortest_difference(a: float, b: float) -> None:
    x, y = (torch.tensor([[0.0, t, 2.0]], dtype=torch.float64) for t in (a, b))
    delta = MIXED.difference(x, y)[0, 1].item()
    assert -math.pi - 1e-9 <= delta <= math.pi + 1e-9
    assert math.isclose(math.cos(delta), math.cos(a - b), abs_tol=1e-9)
    assert math.isclose(math.sin(delta), math.sin(a - b), abs_tol=1e-9)


@given(st.floats(-1e3, 1e3))
def test_wrap_lands_in_the_period(a: float) -> None:
    y = wrap(torch.tensor(a, dtype=torch.float64), -1.0, 4.0).item()
    assert -1.0 <= y <= 4.0
    assert math.isclose(math.remainder(y - a, 5.0), 0.0, abs_tol=1e-9)


def test_states_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(ShapeError, match="Here: expected states as a tensor; got list"):
        Domain.real(1).check([[0.0]], "Here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Domain.interval(1.0, 1.0), "low < high"),
        (lambda: Domain.circle(1, 0.0, math.inf), "finite bounds"),
        (lambda: Domain.real(2, names=["only one"]), "Expected 2 names; got 1"),
        (lambda: Domain.real((2, 3)) + Domain.real(1), "Expected flat domains"),
    ],
)
def test_wrong_domains_are_refused(make, message) -> None:
    with pytest.raises(DomainError, match=message):
        make()
