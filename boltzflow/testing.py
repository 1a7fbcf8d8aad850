"""Conformance checks for user-defined layers, densities and potentials; each raises an AssertionError with a message.

>>> from boltzflow.core import Domain, layers
>>> check_bijection(layers.SplineCoupling(Domain.real(1) + Domain.circle(1), [False, True]))
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Density
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.core.layer import Bijection
from boltzflow.core.transformers import Transformer

if TYPE_CHECKING:
    from boltzflow.energies import Potential  # imports OpenMM, which checks of flows do not need

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}
"""Tolerance of round trips and log-determinants, relative to max(1, |value|)."""


def random_states(
    domain: Domain, n: int, *, dtype: torch.dtype = torch.float64, generator: torch.Generator | None = None
) -> Tensor:
    """Random states (n, *shape) of a domain: uniform on bounded coordinates, normal of width 3 on real lines."""
    like = torch.empty(0, dtype=dtype)
    uniform = torch.rand(n, len(domain), dtype=dtype, generator=generator)
    normal = 3.0 * torch.randn(n, len(domain), dtype=dtype, generator=generator)
    low, high = domain.lows(like), domain.highs(like)
    bounded = torch.isfinite(low)
    low, high = torch.where(bounded, low, 0.0), torch.where(bounded, high, 1.0)
    return torch.where(bounded, low + (high - low) * uniform, normal).view(n, *domain.shape)


def randomize_parameters(module: nn.Module, *, scale: float = 0.3, seed: int = 0) -> None:
    """Replace all parameters by normal noise, in place, so that a layer that is initially the identity is tested."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))


def check_bijection(
    layer: Bijection,
    *,
    dtype: torch.dtype = torch.float64,
    context: Tensor | None = None,
    n: int = 16,
    seed: int = 0,
    tolerance: float | None = None,
) -> None:
    """Check all requirements of a bijection on n random states.

    It checks shapes and dtype; images inside the domain; both round trips; log_ratio against the autograd Jacobian in
    both directions; continuity of value and slope across the seam of circles; images, log_ratio and finite second
    derivatives at, next to and beyond every bound; a finite gradient for each parameter; an empty result and unchanged
    state for an empty batch; and that a state dict restores the layer. The layer's parameters are not changed.

    Args:
        layer: between domains of equal size.
        dtype: the dtype of the check.
        context: (n, C) or None.
        n: number of states.
        seed: the random seed of the states and parameters.
        tolerance: relative to max(1, |value|); by default that of `TOLERANCE`.
    """
    fresh = copy.deepcopy(layer).to(dtype)
    layer = copy.deepcopy(layer).to(dtype)
    randomize_parameters(layer, seed=seed)
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    generator = torch.Generator().manual_seed(seed)
    context = None if context is None else context.to(dtype)
    for name, run, back, start, end in (
        ("forward", layer.__call__, layer.inverse, layer.latent_domain, layer.data_domain),
        ("inverse", layer.inverse, layer.__call__, layer.data_domain, layer.latent_domain),
    ):
        x = random_states(start, n, dtype=dtype, generator=generator)
        y, log_ratio = run(x, context)
        assert y.shape == (n, *end.shape), f"{name}: shape {tuple(y.shape)}, expected {(n, *end.shape)}"
        assert log_ratio.shape == (n,), f"{name}: log_ratio of shape {tuple(log_ratio.shape)}, expected ({n},)"
        assert y.dtype == log_ratio.dtype == dtype, f"{name}: dtypes {y.dtype}, {log_ratio.dtype}, expected {dtype}"
        assert end.contains(y).all(), f"{name}: an image lies outside {end}"
        again, log_back = back(y, context)
        jacobian = _jacobian(run, x, context)
        # Rounding of y is amplified by the slope of the inverse.
        magnified = tolerance * torch.linalg.inv(jacobian).abs().amax((1, 2)).clamp(min=1.0)
        moved = start.difference(again, x).flatten(1)
        _assert_close(moved, torch.zeros_like(moved), magnified[:, None], f"{name}: round trip")
        _assert_close(log_back, -log_ratio, magnified, f"{name}: log_ratio of the inverse")
        _assert_close(
            log_ratio, torch.linalg.slogdet(jacobian)[1], 10 * tolerance, f"{name}: log_ratio against autograd"
        )
        _check_seams(run, start, end, x, context, tolerance, name)
        _check_edges(layer, run, start, end, x, context, tolerance, name)
        _check_empty(layer, run, end, x, context, name)
    z = random_states(layer.latent_domain, n, dtype=dtype, generator=generator)
    if any(True for _ in layer.parameters()):
        _check_gradients(layer, z, context)
    fresh.load_state_dict(layer.state_dict())
    for one, other in zip(layer(z, context), fresh(z, context), strict=True):
        assert torch.equal(one, other), "a layer restored from its state dict gives different values"


def check_state_dict(
    make: Callable[[int], nn.Module], evaluate: Callable[[nn.Module], Tensor], *, seeds: tuple[int, int] = (0, 1)
) -> None:
    """Check that a state dict loaded into a module with another seed gives the same values, or is refused.

    Args:
        make: seed → module.
        evaluate: module → the values to compare, such as densities of given states.
        seeds: of the module that is saved, and of the module that loads it.
    """
    saved, other = (make(seed) for seed in seeds)
    randomize_parameters(saved)
    try:
        other.load_state_dict(saved.state_dict())
    except RuntimeError:
        return
    assert torch.equal(evaluate(other), evaluate(saved)), "a module accepts a state dict but gives different values"


def check_no_samples(density: Density, context: Tensor | None = None) -> None:
    """Check that a request for zero samples gives an empty result with an empty density.

    Args:
        density: a distribution, a target or a flow.
        context: (0, C) or None.
    """
    x, log_prob = density.sample(0, context)
    assert x.shape == (0, *density.domain.shape), f"sample(0) of shape {tuple(x.shape)}"
    assert log_prob.shape == (0,), f"log-densities of sample(0) of shape {tuple(log_prob.shape)}"
    assert density.log_prob(x, context).shape == (0,), "log_prob of no states is not empty"


def check_density(
    log_prob: Callable[[Tensor], Tensor],
    domain: Domain,
    *,
    points: int = 2001,
    reach: float = 12.0,
    tolerance: float = 1e-3,
) -> None:
    """Check that a density integrates to 1, by the midpoint rule on a grid.

    Args:
        log_prob: (batch, D) float64 → (batch,).
        domain: flat, of one to three coordinates.
        points: grid points along each coordinate.
        reach: real lines are truncated at ± this value.
        tolerance: absolute tolerance of the integral.
    """
    axes, cell = [], 1.0
    for c in domain:
        low, high = (-reach, reach) if c.kind == "real" else (c.low, c.high)
        step = (high - low) / points
        axes.append(low + step * (torch.arange(points, dtype=torch.float64) + 0.5))
        cell *= step
    grid = torch.cartesian_prod(*axes).view(-1, len(domain))
    masses = [log_prob(part).exp().sum() for part in torch.split(grid, 100_000)]
    total = torch.stack(masses).sum().item() * cell
    assert math.isclose(total, 1.0, abs_tol=tolerance), f"the density integrates to {total:.6f}, expected 1"


def check_potential(
    potential: Potential, positions: Tensor, *, step: float = 1e-5, tolerance: float = 1e-5, gradient: bool = True
) -> None:
    """Check all requirements of a potential on given frames.

    It checks shapes and dtype; that energies agree with and without forces; forces against central differences of the
    energy along random directions; that the gradient of a call is minus the force; that frames are independent; and
    that a non-finite frame has the energy +inf and zero forces.

    Args:
        potential: of N atoms.
        positions: (batch, N, 3) float64 in nm, thermal structures.
        step: step of the central differences, nm.
        tolerance: tolerance of the differences, relative to the norm of the forces.
        gradient: whether to check the gradient of a call too.
    """
    n = positions.shape[0]
    energy, forces = potential.energy_and_forces(positions)
    assert energy.shape == (n,), f"energies of shape {tuple(energy.shape)}, expected ({n},)"
    assert forces.shape == positions.shape, f"forces of shape {tuple(forces.shape)}, expected {tuple(positions.shape)}"
    assert energy.dtype == forces.dtype == positions.dtype, f"dtypes {energy.dtype}, {forces.dtype}"
    _assert_close(potential.energy(positions), energy, 1e-9, "energy alone against energy with forces")
    direction = torch.randn(positions.shape, dtype=positions.dtype, generator=torch.Generator().manual_seed(0))
    difference = potential.energy(positions + step * direction) - potential.energy(positions - step * direction)
    expected = -(forces * direction).sum((1, 2))
    error = (difference / (2 * step) - expected).abs() / forces.flatten(1).norm(dim=1).clamp(min=1.0)
    assert error.max() <= tolerance, f"forces against differences of the energy: off by {error.max():.3g} of the force"
    if gradient:
        leaf = positions.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(potential(leaf).sum(), leaf)
        _assert_close(slope, -forces, 1e-9, "gradient of a call against the forces")
    broken = torch.cat([positions[:1], torch.full_like(positions[:1], torch.nan), positions[:1]])
    energy_broken, forces_broken = potential.energy_and_forces(broken)
    assert energy_broken[1] == torch.inf, "a frame that is not finite must have energy +inf"
    assert (forces_broken[1] == 0.0).all(), "a frame that is not finite must have no force"
    _assert_close(energy_broken[[0, 2]], energy[[0, 0]], 1e-9, "energy of a frame beside one that is not finite")


def _jacobian(run: Callable[..., tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None) -> Tensor:
    """∂out/∂in (n, D, D); samples are independent, so the sum over the batch is differentiated."""
    rows = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        lambda t: run(t, context)[0].flatten(1).sum(0), x
    )
    return rows.flatten(2).transpose(0, 1)  # type: ignore[no-any-return]


def _check_seams(
    run: Callable[..., tuple[Tensor, Tensor]],
    start: Domain,
    end: Domain,
    x: Tensor,
    context: Tensor | None,
    tolerance: float,
    name: str,
) -> None:
    for i in start.indices("circle"):
        low, high = x.clone(), x.clone()
        low[:, i], high[:, i] = start.coordinates[i].low, start.coordinates[i].high
        y_low, y_high = run(low, context)[0], run(high, context)[0]
        where = f"{name}: at the seam of {start.coordinates[i]}"
        _assert_close(end.difference(y_high, y_low), torch.zeros_like(y_low), 10 * tolerance, f"{where}: value")
        slopes = [_jacobian(run, at, context)[:, :, i] for at in (low, high)]
        _assert_close(slopes[1], slopes[0], 100 * tolerance, f"{where}: slope")


def _check_edges(
    layer: nn.Module,
    run: Callable[..., tuple[Tensor, Tensor]],
    start: Domain,
    end: Domain,
    x: Tensor,
    context: Tensor | None,
    tolerance: float,
    name: str,
) -> None:
    """Check states with one coordinate at, next to or beyond a bound of its domain or of a transformer."""
    places = [(i, value) for i in range(len(start)) for value in _edges(layer, start.coordinates[i], x.dtype)]
    if not places:
        return
    rows = torch.arange(len(places)) % len(x)
    at = x[rows].flatten(1)
    at[range(len(places)), [i for i, _ in places]] = torch.stack([value for _, value in places])
    at = at.view(-1, *start.shape).requires_grad_()
    some = None if context is None else context[rows]
    y, log_ratio = run(at, some)
    outside = [f"{value.item():.17g} of {start.coordinates[i]}" for i, value in places]
    for inside, what in ((end.contains(y), "an image outside"), (log_ratio.isfinite(), "a log_ratio not finite")):
        assert inside.all(), f"{name}: {what} {end} of a state at {outside[int(inside.int().argmin())]}"
    _assert_close(
        log_ratio, torch.linalg.slogdet(_jacobian(run, at, some))[1], 10 * tolerance, f"{name}: log_ratio at bounds"
    )
    _check_second_derivatives(layer, y, log_ratio, at, name)


def _edges(layer: nn.Module, coordinate: Coordinate, dtype: torch.dtype) -> list[Tensor]:
    """Bounds of a coordinate, their neighbours and, if the domain continues beyond, points there."""
    inside = torch.tensor([coordinate.low, coordinate.high], dtype=dtype)
    if coordinate.kind != "real":
        middle = inside.mean()
        return [*inside, *torch.nextafter(inside, middle)]
    found = [b for part in layer.modules() if isinstance(part, Transformer) for b in part.named_buffers()]
    bounds = torch.cat(
        [torch.empty(0, dtype=torch.float64), *(b.flatten() for name, b in found if name.endswith((".low", ".high")))]
    )
    edges = torch.tensor(sorted({b for b in bounds.tolist() if math.isfinite(b)}), dtype=dtype)
    return [*edges, *torch.nextafter(edges, edges + 1), *torch.nextafter(edges, edges - 1), *(3.0 * edges)]


def _check_second_derivatives(layer: nn.Module, y: Tensor, log_ratio: Tensor, x: Tensor, name: str) -> None:
    """Check that second derivatives of states and parameters, as in score matching, are finite; a layer may refuse."""
    leaves = [x, *(p for p in layer.parameters() if p.requires_grad)]
    probe = torch.linspace(0.5, 1.5, y[0].numel(), dtype=y.dtype).view(y.shape[1:])
    (score,) = torch.autograd.grad((y * probe).sum() + log_ratio.sum(), x, create_graph=True)
    assert score.isfinite().all(), f"{name}: a first derivative at a bound is not finite"
    if not score.requires_grad:
        return
    try:
        second = torch.autograd.grad(score.square().sum(), leaves, allow_unused=True)
    except RuntimeError:
        return
    assert all(g is None or bool(g.isfinite().all()) for g in second), f"{name}: a second derivative is not finite"


def _check_empty(
    layer: nn.Module,
    run: Callable[..., tuple[Tensor, Tensor]],
    end: Domain,
    x: Tensor,
    context: Tensor | None,
    name: str,
) -> None:
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    y, log_ratio = run(x[:0], None if context is None else context[:0])
    assert y.shape == (0, *end.shape), f"{name}: shape {tuple(y.shape)} of an empty batch, expected {(0, *end.shape)}"
    assert log_ratio.shape == (0,), f"{name}: log_ratio of shape {tuple(log_ratio.shape)} of an empty batch"
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key]), f"{name}: an empty batch changed {key}"


def _check_gradients(layer: nn.Module, x: Tensor, context: Tensor | None) -> None:
    y, log_ratio = layer(x, context)
    probe = torch.linspace(0.5, 1.5, y[0].numel(), dtype=y.dtype).view(y.shape[1:])
    (y * probe).sum().add(log_ratio.sum()).backward()
    for name, parameter in layer.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"no gradient reaches parameter {name}"
        assert gradient.isfinite().all(), f"the gradient of parameter {name} is not finite"
        assert gradient.abs().max() > 0.0, f"the gradient of parameter {name} is zero"


def _assert_close(got: Tensor, expected: Tensor, tolerance: float | Tensor, what: str) -> None:
    error = (got - expected).abs() / expected.abs().clamp(min=1.0)
    excess = (error / tolerance).max().item()
    assert excess <= 1.0, f"{what}: off by {error.max().item():.3g}, {excess:.3g} times what is allowed"
