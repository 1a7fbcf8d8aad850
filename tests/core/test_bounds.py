"""States at, next to and beyond the bounds of intervals, circles and transformers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from boltzflow.core import Domain, Flow, distributions, layers, recipes
from boltzflow.core.domain import wrap
from boltzflow.core.transformers import (
    Affine,
    Bernstein,
    DeepSigmoidal,
    IntervalAffine,
    RationalQuadratic,
    Transformer,
    UnconstrainedMonotonic,
)
from boltzflow.testing import random_states, randomize_parameters
from tests.core.registry import FLOWS

DTYPES = [torch.float32, torch.float64]
MAKERS = {
    "spline": lambda d: RationalQuadratic(d, bins=4),
    "Bernstein": lambda d: Bernstein(d, degree=5),
    "unconstrained monotonic": lambda d: UnconstrainedMonotonic(d, units=2, cells=4),
    "deep sigmoidal": lambda d: DeepSigmoidal(d, units=3),
    "affine": Affine,
    "interval affine": IntervalAffine,
}
KINDS = {
    "real": Domain.real(1),
    "interval": Domain.interval(-2.0, -0.8),
    "circle": Domain.circle(1, 0.1, 0.7),
}
CASES = [(name, kind) for name in list(MAKERS)[:3] for kind in KINDS] + [
    ("deep sigmoidal", "real"),
    ("affine", "real"),
    ("affine", "circle"),
    ("interval affine", "real"),
]


def many_intervals() -> Domain:
    """All pairs of one decimal between −1 and 1, and random bounds of every size: 310 intervals."""
    generator = torch.Generator().manual_seed(0)
    decimals = [(a / 10, b / 10) for a in range(-10, 11) for b in range(a + 1, 11)]
    size = 10.0 ** (6.0 * torch.rand(100, generator=generator, dtype=torch.float64) - 3.0)
    low = size * torch.randn(100, generator=generator, dtype=torch.float64)
    width = size * (0.01 + torch.rand(100, generator=generator, dtype=torch.float64))
    pairs = decimals + list(zip(low.tolist(), (low + width).tolist(), strict=True))
    return Domain.of([Domain.interval(a, b).coordinates[0] for a, b in pairs])


def ends(domain: Domain, dtype: torch.dtype) -> Tensor:
    """Both bounds and their neighbours inside, (d, 4)."""
    like = torch.empty(0, dtype=dtype)
    low, high = domain.lows(like), domain.highs(like)
    return torch.stack([low, high, torch.nextafter(low, high), torch.nextafter(high, low)], 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("name", [*list(MAKERS)[:3], "interval affine"])
def test_images_of_bounds_lie_in_the_interval(name: str, scale: float, dtype: torch.dtype) -> None:
    """Exactly, in both directions; a bound's image is a bound, but for rounding."""
    domain = many_intervals()
    transformer: Transformer = MAKERS[name](domain)
    x = ends(domain, dtype)
    generator = torch.Generator().manual_seed(1)
    parameters = scale * torch.randn(transformer.parameter_count, *x.shape, generator=generator, dtype=dtype)
    for run in (transformer.forward, transformer.inverse):
        y, log_slope = run(x, parameters)
        assert (y >= x[:, :1]).all()
        assert (y <= x[:, 1:2]).all()
        assert log_slope.isfinite().all()
        rounding = 8.0 * torch.finfo(dtype).eps * x.abs().amax(1, keepdim=True) * (1.0 + log_slope.exp())
        assert ((y - x).abs() <= rounding)[:, :2].all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_corners_of_the_closed_domain_have_the_density_of_its_inside(dtype: torch.dtype) -> None:
    domain = many_intervals()
    flow = recipes.spline_flow(domain, layers=2, hidden=(8,)).to(dtype)  # the identity of a uniform base
    corners = ends(domain, dtype).T
    volume = sum(torch.tensor(c.high - c.low).log() for c in domain)
    assert torch.allclose(flow.log_prob(corners), (-volume).to(dtype), rtol=1e-3 if dtype == torch.float32 else 1e-6)
    outside = corners[:2] + torch.tensor([[-1.0], [1.0]], dtype=dtype)
    assert (flow.log_prob(outside) == -torch.inf).all()


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_first_and_second_derivatives_around_bounds(name: str, kind: str, direction: str) -> None:
    """Of image and log-slope: at a bound and next to it those of one side, by differences from that side."""
    domain = KINDS[kind]
    transformer: Transformer = MAKERS[name](domain)
    generator = torch.Generator().manual_seed(2)
    raw = 0.7 * torch.randn(transformer.parameter_count, 1, 1, generator=generator, dtype=torch.float64)
    run = getattr(transformer, direction)
    if kind == "real":
        # The bounds of the curve: on the way back they are the images of ± 5.
        edges = torch.tensor([-5.0, 5.0], dtype=torch.float64)
        if direction == "inverse" and name != "affine":
            edges = transformer(edges[None], raw.expand(-1, 1, 2))[0][0]
        low, high = edges
        points = [low, high, *torch.nextafter(edges, edges + 1), *torch.nextafter(edges, edges - 1), low - 3, high + 3]
    else:
        low, high, *neighbours = ends(domain, torch.float64)[0]
        points = [low, high, *neighbours]
    step = 1e-5 * (high - low).item()
    weights = torch.tensor([-11.0, 18.0, -9.0, 2.0], dtype=torch.float64) / (6.0 * step)  # of third order, one-sided

    def derivatives(at: Tensor) -> tuple[Tensor, ...]:
        """The log-slope, its derivative and its second derivative, and the slope of the image."""
        at = at.view(1, -1).detach().requires_grad_()
        image, log_slope = run(at, raw.expand(-1, *at.shape))
        (slope,) = torch.autograd.grad(image.sum(), at, create_graph=True)
        (bend,) = torch.autograd.grad(log_slope.sum() + 0.0 * at.square().sum(), at, create_graph=True)
        (second,) = torch.autograd.grad(bend.sum() + 0.0 * at.square().sum(), at)
        return log_slope[0], bend[0], second[0], slope[0]

    for x in points:
        log_slope, bend, second, slope = (value[0].item() for value in derivatives(x))
        assert slope == pytest.approx(math.exp(log_slope), rel=1e-9)
        found = []
        for side in (1.0, -1.0):  # the curve has a bend where it is continued: right is what one side has
            near = x + side * step * torch.arange(4, dtype=torch.float64)
            if kind == "interval" and not low <= near[-1] <= high:
                continue
            log_slopes, bends, *_ = derivatives(near)
            wanted = side * (log_slopes @ weights).item(), side * (bends @ weights).item()
            found.append((bend, second) == pytest.approx(wanted, rel=1e-4, abs=1e-4))
        assert any(found), f"{bend}, {second} at {x.item()}"


@pytest.mark.parametrize("name", [name for name in FLOWS if "spline" in name])
def test_no_density_and_no_gradient_beyond_a_bound(name: str) -> None:
    case = FLOWS[name]
    flow = case.make(0).double()
    randomize_parameters(flow)
    domain = flow.domain
    x = random_states(domain, 8, generator=torch.Generator().manual_seed(0))
    bounded = domain.indices("interval")
    for row, (i, beyond) in enumerate((i, beyond) for i in bounded for beyond in (False, True)):
        low, high = domain.coordinates[i].low, domain.coordinates[i].high
        x[row, i] = high + (1.0 if beyond else 0.0) * (high - low)
    context = torch.randn(8, case.context_size, dtype=x.dtype) if case.context_size else None
    x.requires_grad_()
    log_prob = flow.log_prob(x, context)
    inside = domain.contains(x)
    assert (~inside).sum() == len(bounded)
    assert (log_prob.isfinite() == inside).all()
    (score,) = torch.autograd.grad(log_prob[inside].sum(), x, create_graph=True)
    assert (score[~inside] == 0.0).all()
    second = torch.autograd.grad(score.square().sum(), [x, *flow.parameters()], allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in second)


def test_score_matching_of_an_identity_beyond_the_bound_of_a_curve() -> None:
    domain = Domain.real(1)
    flow = Flow(distributions.DiagonalNormal(domain), layers.Elementwise(Bernstein(domain))).double()
    x = torch.tensor([[-5.0], [1.0], [5.0], [6.0]], dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(flow.log_prob(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(score.sum(), x, retain_graph=True)
    assert torch.allclose(second, -torch.ones_like(x), atol=1e-12)
    score.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_circle_is_wrapped_into_its_range(dtype: torch.dtype) -> None:
    """Seams and their neighbours, whole numbers of turns away from them too."""
    generator = torch.Generator().manual_seed(0)
    for low, high in ((-torch.pi, torch.pi), (0.0, 1.0), (0.1, 0.7), (1.0, 4.0), (100.0, 100.3)):
        a, b = (torch.tensor(bound, dtype=dtype) for bound in (low, high))
        seams = a + (b - a) * torch.randint(-9, 10, (500,), generator=generator)
        x = torch.cat([ends(Domain.circle(1, low, high), dtype)[0], seams, torch.nextafter(seams, seams - 1)])
        y = wrap(x.requires_grad_(), a, b)
        assert ((y >= a) & (y < b)).all()
        turns = (x - y) / (b - a)
        assert (turns - turns.round()).abs().max() < 16.0 * torch.finfo(dtype).eps * (10.0 + high / (high - low))
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert (slope == 1.0).all()
