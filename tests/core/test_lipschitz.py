"""Bounds of norms hold for every weight, and are tight where the norm is known."""

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from boltzflow.core import nets
from boltzflow.core.functional.fixed_point import solve_fixed_point
from boltzflow.core.functional.operator_norm import (
    convolution_norm_bound,
    induced_norm_bound,
    spectral_norm_bound,
)
from boltzflow.errors import ConvergenceError, OptionError
from boltzflow.testing import randomize_parameters

ORDERS = [1.0, 2.0, math.inf]


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (32, 32)], ids=str)
def test_spectral_norm_is_bounded_from_above_and_tightly(shape: tuple[int, int], dtype: torch.dtype) -> None:
    for seed, scale in product(range(20), (1e-6, 1.0, 1e6)):
        weight = scale * _random(*shape, seed=seed, dtype=dtype)
        ratio = spectral_norm_bound(weight).double() / torch.linalg.matrix_norm(weight.double(), 2)
        assert 1.0 <= ratio < min(shape) ** (1.0 / 130.0) + 1e-5


def test_spectral_norm_where_all_singular_values_are_equal_has_the_stated_excess() -> None:
    bound = spectral_norm_bound(torch.eye(64, dtype=torch.float64))
    torch.testing.assert_close(bound.item(), 64 ** (1 / 130), rtol=1e-9, atol=0.0)
    assert spectral_norm_bound(torch.zeros(3, 3)) == 0.0


def test_gradients_of_bounds() -> None:
    weight = _random(4, 3).requires_grad_()
    kernel = _random(3, 2, 3, 3).requires_grad_()
    a, b = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True).unbind()
    assert torch.autograd.gradcheck(spectral_norm_bound, weight)
    assert torch.autograd.gradcheck(convolution_norm_bound, kernel)
    assert torch.autograd.gradcheck(lambda *args: induced_norm_bound(*args, (3, 4)), (weight, a, b))
    assert torch.autograd.gradcheck(lambda *args: induced_norm_bound(*args, (3, 4)), (weight, b, a))


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("image", [2, 5, 16])
def test_convolution_norm_is_bounded(size: int, image: int) -> None:
    kernel = _random(3, 2, size, size)
    units = torch.eye(2 * image**2, dtype=torch.float64).view(-1, 2, image, image)
    matrix = F.conv2d(units, kernel, padding=size // 2).flatten(1)
    ratio = convolution_norm_bound(kernel) / torch.linalg.matrix_norm(matrix, 2)
    assert ratio >= 1.0
    if image == 16:
        assert ratio < 1.25, "a bound of the largest image is within the excess of its grid"


@pytest.mark.parametrize(("p", "q"), [*product(ORDERS, ORDERS), (1.3, 4.0), (3.0, 3.0), (4.0, 1.5)])
def test_induced_norms_are_bounded(p: float, q: float) -> None:
    """Against power iteration (Boyd 1974), which comes from below."""
    weight = _random(6, 5)
    x = _random(5, 5000, seed=1)
    best = (torch.linalg.vector_norm(weight @ x, q, dim=0) / torch.linalg.vector_norm(x, p, dim=0)).max()
    units = torch.cat(
        [torch.eye(5, dtype=torch.float64), torch.tensor(list(product([-1.0, 1.0], repeat=5))).double().T], 1
    )
    best = max(
        best, (torch.linalg.vector_norm(weight @ units, q, dim=0) / torch.linalg.vector_norm(units, p, dim=0)).max()
    )
    bound = induced_norm_bound(weight, 1 / p, 1 / q, (5, 6))
    assert bound >= best * (1 - 1e-12)
    # 1 → q and p → ∞ are known exactly; the power of a dimension that a bound for q < p gives away is at most 1.
    if p == 1.0 or (q == math.inf and p == math.inf):
        torch.testing.assert_close(bound, best)
    assert bound <= best * (6.0 if q < p else 2.0)


def _jacobians(net: torch.nn.Module, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    rows = torch.autograd.functional.jacobian(lambda t: net(t, context).sum(0), x)
    return rows.transpose(0, 1)


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("order", [*ORDERS, 3.0, "learned"], ids=str)
def test_nets_are_contractions_whatever_their_parameters(order: float | str, scale: float) -> None:
    """The Jacobian at 200 points is within the bound in its norm; in any norm its spectral radius is."""
    for activation in (nets.LipSwish, nets.ELU):
        net = nets.LipschitzMLP(4, (16, 16), lipschitz=0.9, order=order, activation=activation).double()
        randomize_parameters(net, scale=scale)
        jacobian = _jacobians(net, 2.0 * _random(200, 4))
        assert torch.linalg.eigvals(jacobian).abs().max() <= 0.9
        if order in ORDERS:
            assert torch.linalg.matrix_norm(jacobian, order).max() <= 0.9
        else:
            p = 3.0 if order == 3.0 else 1.0 / net.order_logits[0].sigmoid().item()
            v = _random(4, 2000, seed=2)
            image = torch.linalg.vector_norm(jacobian @ v, p, dim=1)
            assert (image / torch.linalg.vector_norm(v, p, dim=0)).max() <= 0.9


def test_a_bound_is_reached() -> None:
    """A net of one wide layer that wants to be steep is as steep as it may be: bounds are not slack."""
    net = nets.LipschitzMLP(3, (), lipschitz=0.9).double()
    torch.nn.init.eye_(net.layers[0].weight)
    torch.testing.assert_close(
        torch.linalg.matrix_norm(_jacobians(net, _random(2, 3)), 2).min().item(), 0.9, rtol=0.01, atol=0
    )


@pytest.mark.parametrize("order", [2.0, 1.0, "learned"], ids=str)
def test_convolutional_nets_are_contractions(order: float | str) -> None:
    net = nets.LipschitzCNN((2, 4, 5), (6,), kernel_sizes=(3, 1), lipschitz=0.9, order=order).double()
    randomize_parameters(net, scale=2.0)
    jacobian = _jacobians(net, _random(30, 40))
    assert torch.linalg.eigvals(jacobian).abs().max() <= 0.9
    if order != "learned":
        assert torch.linalg.matrix_norm(jacobian, order).max() <= 0.9


def test_bounds_hold_between_training_steps() -> None:
    """A net that is asked to be steep, after each of 40 large steps."""
    net = nets.LipschitzMLP(2, (16, 16), lipschitz=0.9)
    randomize_parameters(net)
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    x = _random(64, 2, dtype=torch.float32)
    for _ in range(40):
        loss = (net(x) - 5.0 * x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.linalg.matrix_norm(_jacobians(net, x), 2).max() <= 0.9
    assert torch.linalg.matrix_norm(_jacobians(net, x), 2).max() > 0.6


def test_the_context_is_not_bounded() -> None:
    net = nets.LipschitzMLP(2, (16,), context_size=1)
    randomize_parameters(net, scale=5.0)
    x = torch.zeros(2, 2)
    far, near = net(x, torch.tensor([[0.0], [10.0]]))
    assert (far - near).norm() > 10.0


@pytest.mark.parametrize("activation", [nets.LipSwish, nets.ELU])
def test_slopes_of_activations(activation: type[nets.LipschitzActivation]) -> None:
    made = activation().double()
    h = torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64)
    for beta in (-5.0, 0.5, 5.0):
        for parameter in made.parameters():
            torch.nn.init.constant_(parameter, beta)
        x = h.clone().requires_grad_()
        (slope,) = torch.autograd.grad(made(x).sum(), x)
        assert slope.abs().max() <= 1.0
        assert slope.abs().max() > 0.99 or beta < 0.0
    value, slope = made.value_and_slope(h)
    torch.testing.assert_close(value, made.value(h))
    x = (h + 0.001).requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(made.value(x).sum(), x)[0], made.value_and_slope(x)[1])
    point = torch.tensor([-1.3, -0.2, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made.value_and_slope, point)


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(OptionError, match=r"expected a Lipschitz constant in \(0, 1\); got 1"):
        nets.LipschitzMLP(2, (4,), lipschitz=1.0)
    with pytest.raises(OptionError, match=r"at least 1; got 0\.5"):
        nets.LipschitzMLP(2, (4,), order=0.5)
    with pytest.raises(OptionError, match="expected an odd kernel size; got 2"):
        nets.LipschitzConv2d(1, 1, 2, image=(4, 4))
    with pytest.raises(OptionError, match="expected 2 kernel sizes; got 3"):
        nets.LipschitzCNN((1, 4, 4), (2,), kernel_sizes=(3, 3, 3))
    with pytest.raises(OptionError, match="positive Lipschitz constant; got 0"):
        nets.LipschitzLinear(1, 1, lipschitz=0.0)
    with pytest.raises(OptionError, match=r"expected norms of order 1 or more; got 0\.5"):
        nets.LipschitzLinear(1, 1, codomain=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1, 2, 30])
def test_fixed_points_are_found_to_rounding(size: int, dtype: torch.dtype) -> None:
    """Rotations by almost π/2 and reflections, scaled by 0.97, next to a nonlinear map; targets of all sizes."""
    rotation = 0.97 * torch.linalg.qr(_random(size, size))[0].to(dtype)
    target = torch.cat([scale * _random(20, size, seed=3, dtype=dtype) for scale in (1e-8, 1.0, 1e5)])
    eps = torch.finfo(dtype).eps
    for function in (
        lambda x: x @ rotation,
        lambda x: 0.97 * x,
        lambda x: -0.97 * x,
        lambda x: 0.97 * (2.0 * x).sin() / 2.0 @ rotation,
        lambda x: -0.97 * x.abs(),
    ):
        x = solve_fixed_point(function, target, "test")
        residual = (target - x - function(x)).abs().amax(1)
        size_of_numbers = 1.0 + torch.maximum(target.abs().amax(1), x.abs().amax(1))
        assert (residual <= 32 * eps * size_of_numbers).all()


def test_few_evaluations_are_enough() -> None:
    """A plain iteration would take more than 1000 for a contraction by 0.97."""
    calls = 0

    def function(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return -0.97 * (x + 0.3).sin()

    solve_fixed_point(function, _random(1000, 3), "test")
    assert calls < 30


def test_what_does_not_converge_says_so() -> None:
    with pytest.raises(ConvergenceError, match=r"Here: expected a fixed point within 50 iterations; .* for sample 1\."):
        solve_fixed_point(
            lambda x: torch.where(x > 1.0, -3.0 * x.sign() * x.abs().sqrt() - x, 0.0),
            torch.tensor([[0.0], [2.0]]),
            "Here",
            max_iterations=50,
        )


def test_a_sample_that_is_not_finite_stays_alone() -> None:
    target = torch.tensor([[1.0], [torch.nan], [2.0]])
    x = solve_fixed_point(lambda x: 0.5 * x, target, "test")
    torch.testing.assert_close(x, target / 1.5, equal_nan=True)
