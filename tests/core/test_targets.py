"""Targets: their normalisation against independent quadrature, their samples against their density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from boltzflow.core.distributions import targets
from boltzflow.errors import OptionError, ShapeError
from tests.core.registry import TARGETS


def trapezoid_log_z(target: targets.ExactTarget, points: int = 1501) -> float:
    """log Z by the trapezoid rule on a wider box than the target's own: another rule, at other points."""
    (left, right), (low, high) = target.x_range, target.y_range
    x, y = (
        torch.linspace(a - 0.1 * (b - a), b + 0.1 * (b - a), points, dtype=torch.float64)
        for a, b in ((left, right), (low, high))
    )
    rows = [target.log_prob(torch.cartesian_prod(part, y)).exp().sum() for part in x.split(100)]
    return math.log(torch.stack(rows).sum() * (x[1] - x[0]) * (y[1] - y[0]))


@pytest.mark.parametrize("name", TARGETS)
def test_log_z_against_another_quadrature(name: str) -> None:
    target = TARGETS[name]()
    # The trapezoid rule is exact to rounding for smooth targets; only the smiley has a kink.
    assert target.log_z == pytest.approx(trapezoid_log_z(target), abs=1e-6 if name == "smiley" else 1e-9)


def test_no_samples_are_samples_too() -> None:
    assert targets.TwoMoons().sample(0)[0].shape == (0, 2)


def test_log_z_against_known_values() -> None:
    assert math.exp(targets.TwoMoons().log_z) == pytest.approx(2.235, abs=5e-4)
    assert math.exp(targets.RingMixture().log_z) == pytest.approx(5.91, abs=5e-3)

    # Rings in polar coordinates; a well along x alone; the smiley with its kink as a break.
    def ring(r: float) -> float:
        return 2 * math.pi * r * sum(math.exp(-0.5 * ((r - at) / 0.125) ** 2) for at in (1.0, 2.0))

    assert math.exp(targets.RingMixture().log_z) == pytest.approx(
        integrate.quad(ring, 0, 4, points=[1, 2])[0], rel=1e-9
    )
    well = integrate.quad(lambda x: math.exp(-0.25 * x**4 + 3 * x**2 - x), -8, 8, epsabs=0, epsrel=1e-12, limit=200)[0]
    assert targets.DoubleWell().log_z == pytest.approx(math.log(well * math.sqrt(2 * math.pi)), abs=1e-10)


def test_many_well_log_z() -> None:
    """The constant of one well pair is 11784.50927 · √2π."""
    pair = math.log(11784.50927) + 0.5 * math.log(2 * math.pi)
    assert targets.ManyWell(32).log_z == pytest.approx(16 * pair, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_samples_follow_the_density(name: str, dtype: torch.dtype) -> None:
    """Counts in cells against quadrature: z-scores of 50 000 samples."""
    target = TARGETS[name]().to(dtype)
    n = 50_000
    x, log_p = target.sample(n, generator=torch.Generator().manual_seed(0))
    assert x.shape == (n, 2)
    assert x.dtype == log_p.dtype == dtype
    torch.testing.assert_close(log_p, target.log_prob(x))
    pilot = target.sample(2000, generator=torch.Generator().manual_seed(1))[0].double()
    edges = []
    for values, ends in zip(pilot.T, (target.x_range, target.y_range), strict=True):
        inner = values.quantile(torch.linspace(0, 1, 8).double()[1:-1])
        edges.append(torch.cat([inner.new_tensor(ends[:1]), inner, inner.new_tensor(ends[1:])]))
    masses = torch.tensor(
        [
            [
                math.exp(targets.target.log_integral(target.log_prob, (a, b), (c, d), panels=8) - target.log_z)
                for c, d in zip(edges[1], edges[1][1:], strict=False)
            ]
            for a, b in zip(edges[0], edges[0][1:], strict=False)
        ],
        dtype=torch.float64,
    )
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-5)
    counts = torch.from_numpy(np.histogramdd(x.double().numpy(), [e.numpy() for e in edges])[0])
    assert counts.sum() == n
    rare = n * masses < 25
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = n * torch.cat([masses[~rare], masses[rare].sum()[None]])
    z = (counts - expected) / (expected * (1 - expected / n)).clamp(min=1.0).sqrt()
    assert z.abs().max() < 4.5, f"z-scores {z.tolist()} of {n} samples"


@pytest.mark.parametrize("name", TARGETS)
def test_gradient(name: str) -> None:
    target = TARGETS[name]()
    x = target.sample(8, generator=torch.Generator().manual_seed(0))[0].double().requires_grad_()
    assert torch.autograd.gradcheck(target.log_prob, x)


@pytest.mark.parametrize("name", {type(make()): name for name, make in TARGETS.items()}.values())
def test_log_prob_compiles_whole(name: str) -> None:
    target = TARGETS[name]()
    x = target.sample(8, generator=torch.Generator().manual_seed(0))[0]
    torch.compiler.reset()
    whole = torch.compile(target.log_prob, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(whole(x), target.log_prob(x))


def test_many_well_samples() -> None:
    """Share of the deeper well in each of 16 pairs, and the mean of y²: z-scores of 20 000 samples."""
    target = targets.ManyWell(32)
    n = 20_000
    x, log_p = target.sample(n, generator=torch.Generator().manual_seed(0))
    assert x.shape == (n, 32)
    torch.testing.assert_close(log_p, target.log_prob(x))

    def mass(low: float, high: float) -> float:
        return integrate.quad(lambda t: math.exp(0.5 * t + 6 * t**2 - t**4), low, high, limit=200)[0]

    barrier = -0.5 / 12 + 4 * (-0.5 / 12) ** 3 / 12  # of −0.5x − 6x² + x⁴, to seven digits
    right = mass(barrier, 5) / mass(-5, 5)
    z = ((x[:, ::2] > barrier).double().mean(0) - right) / math.sqrt(right * (1 - right) / n)
    assert z.abs().max() < 4.5
    z = (x[:, 1::2].double().square().mean(0) - 1) / math.sqrt(2 / n)
    assert z.abs().max() < 4.5


def test_many_well_modes_are_its_minima() -> None:
    target = targets.ManyWell(6).double()
    modes = target.modes().requires_grad_()
    assert modes.shape == (8, 6)
    assert len({tuple(m) for m in modes.tolist()}) == 8
    (slope,) = torch.autograd.grad(target.log_prob(modes).sum(), modes)
    assert slope.abs().max() < 1e-10
    nearby = modes + 1e-3 * torch.randn(modes.shape, generator=torch.Generator().manual_seed(0), dtype=modes.dtype)
    assert (target.log_prob(nearby) < target.log_prob(modes)).all()


def test_double_well_conventions() -> None:
    """(a/4)x⁴ − (b/2)x² + cx + (d/2)y² at a = 1, b = 6, c = 1, d = 1."""
    x = torch.tensor([[-2.0, 0.5], [1.5, -1.0]], dtype=torch.float64)
    u, v = x.T
    torch.testing.assert_close(targets.DoubleWell().log_prob(x), -(u**4 / 4 - 3 * u**2 + u + v**2 / 2))


def test_muller_brown_stationary_points() -> None:
    target = targets.MullerBrown()
    points = [[-0.558223634, 1.441725842], [0.623499405, 0.028037759], [-0.050010823, 0.466694105]]
    saddle = [-0.822001558732, 0.624312802814]
    x = torch.tensor([*points, saddle], dtype=torch.float64, requires_grad=True)
    energy = target.energy(x)
    expected = torch.tensor([-146.699517, -108.166724, -80.767818, -40.664843], dtype=torch.float64)
    torch.testing.assert_close(energy, expected, atol=1e-5, rtol=0)
    assert torch.autograd.grad(energy.sum(), x)[0].abs().max() < 1e-4


def test_funnel_against_scipy() -> None:
    target = targets.Funnel(4).double()
    x, log_p = target.sample(20, generator=torch.Generator().manual_seed(0))
    expected = [
        stats.norm.logpdf(row[0], scale=3) + stats.norm.logpdf(row[1:], scale=np.exp(row[0] / 2)).sum()
        for row in x.numpy()
    ]
    torch.testing.assert_close(log_p, torch.tensor(expected, dtype=torch.float64))
    n = 50_000
    first = target.sample(n, generator=torch.Generator().manual_seed(1))[0][:, 0]
    assert abs(first.square().mean() / 9 - 1) / math.sqrt(2 / n) < 4.5


def test_cylinder_formula() -> None:
    x = torch.tensor([[0.5, 1.0], [-1.0, 3.0]], dtype=torch.float64)
    normal = stats.norm.logpdf(x[:, 0].numpy())
    expected = normal + np.cos((x[:, 1] - 3 * x[:, 0]).numpy()) - np.log(2 * np.pi * special.i0(1.0))
    torch.testing.assert_close(targets.Cylinder().double().log_prob(x), torch.from_numpy(expected))


def test_forty_modes_lie_where_the_literature_has_them() -> None:
    mixture = targets.forty_modes()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        expected = (torch.rand(40, 2) - 0.5) * 80.0
    assert torch.equal(mixture.locations.value, expected)
    assert mixture.log_scales.value.exp()[0, 0].item() == pytest.approx(1.3132617, abs=1e-6)


def test_circular_mixture() -> None:
    mixture = targets.circular_mixture()
    torch.testing.assert_close(mixture.locations.value.norm(dim=1), torch.full((8,), 2.0))
    assert mixture.log_scales.value.exp()[0, 0].item() == pytest.approx(2 / 3 * math.sin(math.pi / 8))


def test_messages() -> None:
    with pytest.raises(OptionError, match="DoubleWell: expected two wells"):
        targets.DoubleWell(linear=20.0)
    with pytest.raises(OptionError, match="expected an even number of coordinates; got 3"):
        targets.ManyWell(3)
    with pytest.raises(OptionError, match="at most 40 coordinates"):
        targets.ManyWell(42).modes()
    with pytest.raises(OptionError, match="expected branch 'gap', 'split' or None; got 'fork'"):
        targets.Sinusoidal(branch="fork")
    with pytest.raises(OptionError, match=r"expected beta of at least 0\.03"):
        targets.MullerBrown(beta=0.01)
    with pytest.raises(OptionError, match="expected at least one ring; got 0"):
        targets.RingMixture(0)
    with pytest.raises(OptionError, match="expected size ≥ 2 and a positive scale; got 1 and 3"):
        targets.Funnel(1)
    with pytest.raises(OptionError, match="Pinwheel: expected at least one blade; got 0"):
        targets.Pinwheel(0)
    with pytest.raises(OptionError, match="Cylinder: expected a positive concentration; got 0"):
        targets.Cylinder(concentration=0.0)
    with pytest.raises(ShapeError, match=r"TwoMoons: expected states of shape \(batch, 2\)"):
        targets.TwoMoons().log_prob(torch.zeros(5, 3))
