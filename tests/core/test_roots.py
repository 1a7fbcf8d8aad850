"""Roots of increasing functions: values to the last digits, and derivatives by the implicit function theorem."""

import math

import pytest
import torch
from torch import Tensor

from boltzflow.core.functional import monotone_root


def cubic(x: Tensor) -> tuple[Tensor, Tensor]:
    return x + x**3, torch.log1p(3.0 * x.square())


def steep(x: Tensor) -> tuple[Tensor, Tensor]:
    """A step of width 10⁻³ on a slope of 10⁻²: Newton's method alone would leave the bracket."""
    t = 1e3 * (x - 0.3)
    return 0.01 * x + t.tanh(), (0.01 + 1e3 / t.cosh().square().clamp(max=1e30)).log()


@pytest.mark.parametrize("function", [cubic, steep])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_root_is_found_to_the_precision_of_the_dtype(function, dtype: torch.dtype) -> None:
    x = torch.linspace(-4.0, 4.0, 1001, dtype=dtype)
    image, log_slope = function(x)
    root = monotone_root(function, image, -5.0, 7.0)
    assert root.dtype == dtype
    # One rounding of the image comes back divided by the slope.
    error = (root - x).abs() / (torch.finfo(dtype).eps * (x.abs() + image.abs() * (-log_slope).exp() + 1e-3))
    assert error.max() < 8.0


def test_target_at_and_beyond_the_bracket_gives_its_end() -> None:
    target = torch.tensor([2.0, 2.0 + 1e-9, 9.0, -2.0, -9.0], dtype=torch.float64)
    root = monotone_root(cubic, target, -1.0, 1.0)
    assert root.tolist() == pytest.approx([1.0, 1.0, 1.0, -1.0, -1.0], abs=1e-15)


def test_bracket_may_differ_for_each_element_and_broadcasts() -> None:
    low = torch.tensor([[-1.0], [0.0]], dtype=torch.float64)
    target = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    root = monotone_root(cubic, target, low, low + 2.0)
    assert root.shape == (2, 3)
    assert torch.allclose(cubic(root)[0], target.expand(2, 3), rtol=1e-14)


def test_gradient_follows_the_implicit_function_theorem() -> None:
    def solve(target: Tensor, scale: Tensor) -> Tensor:
        return monotone_root(lambda x: (scale * x + x**3, (scale + 3.0 * x.square()).log()), target, -9.0, 9.0)

    target = torch.tensor([-3.0, 0.2, 5.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solve, (target, scale))
    assert torch.autograd.gradgradcheck(solve, (target, scale))
    x = solve(target, scale)
    slope = scale + 3.0 * x.square()
    by_target, by_scale = torch.autograd.grad(x.sum(), (target, scale))
    assert torch.allclose(by_target, 1.0 / slope)
    assert torch.allclose(by_scale, -x / slope)


def test_search_compiles_to_one_graph() -> None:
    target = torch.linspace(-2.0, 2.0, 7, dtype=torch.float64)
    torch.compiler.reset()
    whole = torch.compile(lambda t: monotone_root(cubic, t, -2.0, 2.0), fullgraph=True, backend="aot_eager")
    assert torch.allclose(whole(target), monotone_root(cubic, target, -2.0, 2.0), rtol=1e-14)
    assert math.isclose(whole(target)[-1].item(), 1.0, abs_tol=1e-14)
