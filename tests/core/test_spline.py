"""The spline kernel at its edges, and the coupling on the three kinds of coordinate."""

from functools import partial

import pytest
import torch

from boltzflow.core import Domain, layers
from boltzflow.core.functional import parameter_count, rational_quadratic, rational_quadratic_spline
from boltzflow.errors import DomainError, OptionError
from boltzflow.testing import randomize_parameters

BINS = 6


def spline(x, kind: str, inverse: bool = False, seed: int = 0, low: float = -2.0, high: float = 3.0):
    generator = torch.Generator().manual_seed(seed)
    parameters = 2.0 * torch.randn(parameter_count(BINS), 1, generator=generator, dtype=torch.float64)
    return rational_quadratic_spline(
        x,
        parameters.to(x.dtype).expand(-1, len(x)),
        x.new_tensor(low),
        x.new_tensor(high),
        real=torch.tensor(kind == "real"),
        circle=torch.tensor(kind == "circle"),
        inverse=inverse,
    )


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("kind", ["real", "interval", "circle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_map_to_edges(kind: str, inverse: bool, dtype: torch.dtype) -> None:
    y, log_slope = spline(torch.tensor([-2.0, 3.0], dtype=dtype), kind, inverse)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    if kind == "circle":
        assert y[1] - y[0] == pytest.approx(0.0, abs=tolerance)
    else:
        assert y.tolist() == pytest.approx([-2.0, 3.0], abs=tolerance)
    assert log_slope.isfinite().all()


@pytest.mark.parametrize("inverse", [False, True])
def test_real_coordinate_outside_passes_unchanged(inverse: bool) -> None:
    x = torch.tensor([-50.0, -2.0001, 3.0001, 1e6])
    y, log_slope = spline(x, "real", inverse)
    assert torch.equal(y, x)
    assert torch.equal(log_slope, torch.zeros(4))


def test_real_coordinate_is_smooth_where_the_identity_begins() -> None:
    x = torch.tensor([-2.0 + 1e-12, 3.0 - 1e-12], dtype=torch.float64)
    assert spline(x, "real")[1].abs().max() < 1e-6


def test_interval_has_free_end_slopes_and_circle_one_at_the_seam() -> None:
    ends = torch.tensor([-2.0, 3.0 - 1e-12], dtype=torch.float64)
    interval, circle = spline(ends, "interval")[1], spline(ends, "circle")[1]
    assert (interval[0] - interval[1]).abs() > 0.1
    assert circle[0].item() == pytest.approx(circle[1].item(), abs=1e-9)
    assert circle[0].abs() > 0.1  # and it is not pinned to slope 1


def test_circle_is_read_modulo_its_circumference() -> None:
    x = torch.linspace(-1.9, 2.9, 7, dtype=torch.float64)
    for turns in (-3, 1):
        y, log_slope = spline(x + 5.0 * turns, "circle")
        assert torch.allclose(y, spline(x, "circle")[0])
        assert torch.allclose(log_slope, spline(x, "circle")[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_inverse_of_steep_splines_is_finite_and_monotone(seed: int, dtype: torch.dtype) -> None:
    y = torch.linspace(-2.0, 3.0, 2001, dtype=dtype)
    x, log_slope = spline(y, "interval", inverse=True, seed=seed)
    assert x.isfinite().all()
    assert log_slope.isfinite().all()
    assert (x.diff() >= -1e-5).all()


def test_zero_parameters_give_the_identity() -> None:
    domain = Domain.real(2) + Domain.interval(0.0, 1.0, 2) + Domain.circle(2)
    informed = {
        "location": torch.tensor([1.0, 0.0, 0.2, 0.5, 0.0, 0.0]),
        "width": torch.tensor([0.1, 1, 0.03, 1, 1, 1]),
    }
    x = torch.tensor([[0.3, -0.2, 0.25, 0.9, -3.0, 2.0]], dtype=torch.float64)
    for options in ({}, informed, {"seam": torch.tensor([1.0, -1.0])}):
        layer = layers.SplineCoupling(domain, [True, False] * 3, **options).double()
        y, log_ratio = layer(x)
        assert torch.allclose(y, x, atol=1e-9)
        assert log_ratio.abs().max() < 1e-9


def test_knots_start_where_the_density_is() -> None:
    """With an informed start most bins lie within a few widths of the location."""
    domain = Domain.interval(0.0, 10.0) + Domain.interval(0.0, 10.0)
    layer = layers.SplineCoupling(
        domain, [True, False], bins=8, location=torch.tensor([4.0, 4.0]), width=torch.tensor([0.1, 0.1])
    )
    edges = 10.0 * torch.softmax(layer.transformer.constants.start[:8, 0, 0], 0).cumsum(0)
    assert ((edges - 4.0).abs() < 0.6).sum() >= 6


def test_a_width_without_a_location_is_about_the_middle() -> None:
    """As the base has it: knots and features of an interval far from 0."""
    domain, width = Domain.interval(100.0, 200.0, 2), torch.full((2,), 5.0)
    given = {"width": width, "location": torch.full((2,), 150.0)}
    one, two = (layers.SplineCoupling(domain, [True, False], **options) for options in ({"width": width}, given))
    assert torch.equal(one.transformer.constants.start, two.transformer.constants.start)
    assert one.transformer.constants.start.isfinite().all()
    x = torch.tensor([[150.0, 155.0]])
    assert torch.equal(one.features(x), two.features(x))


def test_conditions_on_the_kept_coordinates_only() -> None:
    domain = Domain.circle(2) + Domain.interval(0.0, 1.0, 2)
    layer = layers.SplineCoupling(domain, [True, False, True, False]).double()
    randomize_parameters(layer)
    x = torch.rand(1, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda t: layer(t)[0].sum(0), x)[:, 0]
    assert (jacobian[0, [1, 3]] != 0).all()
    assert jacobian[0, 2] == jacobian[2, 0] == 0
    assert torch.equal(jacobian[[1, 3]], torch.eye(4, dtype=torch.float64)[[1, 3]])


def test_compiles_in_one_graph_and_gives_the_same_numbers() -> None:
    domain = Domain.real(2) + Domain.interval(0.0, 1.0, 2) + Domain.circle(3)
    layer = layers.SplineCoupling(domain, [True, False, True, False, True, True, False], bins=3)
    randomize_parameters(layer)
    compiled = torch.compile(layer.forward, fullgraph=True, dynamic=False, backend="aot_eager")
    x = torch.rand(8, 7)
    for got, expected in zip(compiled(x), layer(x), strict=True):
        assert torch.allclose(got, expected, atol=1e-6)


def test_wrong_options_are_refused() -> None:
    domain = Domain.real(2)
    with pytest.raises(DomainError, match="mask of 2 booleans; got 1"):
        layers.SplineCoupling(domain, [True])
    with pytest.raises(OptionError, match="at least one coordinate"):
        layers.SplineCoupling(domain, [False, False])
    with pytest.raises(OptionError, match="at least 2 bins; got 1"):
        layers.SplineCoupling(domain, [True, False], bins=1)
    with pytest.raises(OptionError, match="context of size 2; got none"):
        layers.SplineCoupling(domain, [True, False], context_size=2)(torch.zeros(1, 2))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("inverse", "fast"), [(False, False), (True, False), (True, True)])
def test_written_gradient_is_that_of_automatic_differentiation(inverse: bool, fast: bool) -> None:
    """All three kinds of coordinate, inside and outside of their bounds; the second derivative by differences."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    parameters = draw(parameter_count(BINS), 3, 9).requires_grad_()
    x = (5.0 * torch.rand(3, 9, generator=generator, dtype=torch.float64) - 2.0).requires_grad_()
    with torch.no_grad():
        x[0, :2], x[1, 0] = torch.tensor([-4.0, 5.0]), 9.0
    low, high = torch.full((3, 1), -2.0, dtype=torch.float64), torch.full((3, 1), 3.0, dtype=torch.float64)
    real, circle = torch.tensor([[True], [False], [False]]), torch.tensor([[False], [True], [False]])
    weights = draw(2, 3, 9).unbind(0)

    def written(x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rational_quadratic_spline(x, parameters, low, high, real=real, circle=circle, inverse=inverse, fast=fast)

    def automatic(x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rational_quadratic.spline(x, parameters, low, high, real, circle, inverse=inverse)

    got = torch.autograd.grad(written(x, parameters), (x, parameters), weights)
    expected = torch.autograd.grad(automatic(x, parameters), (x, parameters), weights)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    some = (x[:, 3:5].detach().requires_grad_(), parameters[:, :, 3:5])
    assert torch.autograd.gradgradcheck(written, some)
    low, high, real, circle = (t[:, 0] for t in (low, high, real, circle))  # one column at a time
    batched = torch.vmap(written, (1, 2), (1, 1))(x, parameters)
    low, high, real, circle = (t[:, None] for t in (low, high, real, circle))
    for one, other in zip(batched, written(x, parameters), strict=True):
        torch.testing.assert_close(one, other)
