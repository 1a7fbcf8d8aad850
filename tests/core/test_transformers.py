"""Monotone families inside couplings: values against independent formulas, inverses, layouts, refusals."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import BPoly
from torch import Tensor

from boltzflow.core import Domain
from boltzflow.core.transformers import (
    Bernstein,
    DeepSigmoidal,
    IntervalAffine,
    RationalQuadratic,
    Transformer,
    UnconstrainedMonotonic,
)
from boltzflow.errors import DomainError, OptionError
from boltzflow.testing import random_states

MIXED = Domain.real(2) + Domain.circle(1) + Domain.interval(1.0, 3.0) + Domain.circle(1, 0.0, 1.0)
MAKERS = {
    "Bernstein": lambda d: Bernstein(d, degree=7),
    "unconstrained monotonic": lambda d: UnconstrainedMonotonic(d, units=5),
    "deep sigmoidal": lambda d: DeepSigmoidal(d, units=5),
    "rational quadratic": lambda d: RationalQuadratic(d, bins=5),
    "interval affine": lambda d: IntervalAffine(d),
}
DOMAINS = {
    "deep sigmoidal": Domain.real(3),
    "interval affine": Domain.real(2) + Domain.interval(1.0, 3.0) + Domain.interval(-0.3, 0.1),
}


def make(name: str) -> Transformer:
    return MAKERS[name](DOMAINS.get(name, MIXED))


def raw(transformer: Transformer, *shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return scale * torch.randn(transformer.parameter_count, *shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zeros_are_the_identity(name: str, dtype: torch.dtype) -> None:
    transformer = make(name)
    domain = transformer.domain
    z = random_states(domain, 20, dtype=dtype).T
    for run in (transformer.forward, transformer.inverse):
        x, log_slope = run(z, torch.zeros(transformer.parameter_count, *z.shape, dtype=dtype))
        assert x.dtype == log_slope.dtype == dtype
        error = domain.difference(x.T, z.T).abs().max()
        assert error < 40 * torch.finfo(dtype).eps
        assert log_slope.abs().max() < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", MAKERS)
def test_slopes_and_way_back(name: str) -> None:
    """Far outside the bounds, at their edges and inside, with parameters that bend strongly."""
    transformer = make(name)
    domain = transformer.domain
    z = random_states(domain, 60).T.contiguous()
    z[0, :6] = torch.tensor([-300.0, -5.0, 5.0, 300.0, 5.0 + 1e-9, 0.0])
    z.requires_grad_()
    parameters = raw(transformer, *z.shape, scale=2.0)
    x, log_slope = transformer(z, parameters)
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert domain.contains(x.T).all()
    assert torch.allclose(log_slope, slope.log(), atol=1e-9)
    again, log_back = transformer.inverse(x, parameters)
    # One rounding of x, and of what it was computed from, comes back divided by the slope.
    rounding = 64 * torch.finfo(z.dtype).eps * (10.0 + x.abs() + z.abs()) * (1.0 + 1.0 / slope)
    assert (domain.difference(again.T, z.T).T.abs() <= rounding).all()
    assert ((log_back + log_slope).abs() <= 100.0 * rounding).all()


@pytest.mark.parametrize("name", MAKERS)
def test_derivatives_of_the_way_back(name: str) -> None:
    transformer = make(name)
    x = random_states(transformer.domain, 3).T.contiguous().requires_grad_()
    parameters = raw(transformer, *x.shape).requires_grad_()
    assert torch.autograd.gradcheck(transformer.inverse, (x, parameters), atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", MAKERS)
def test_a_selection_is_a_part_of_the_whole(name: str) -> None:
    transformer = make(name)
    index = torch.tensor([2, 0])
    z = random_states(transformer.domain, 7).T
    parameters = raw(transformer, *z.shape)
    part = transformer.select(index)
    assert part.domain == transformer.domain[[2, 0]]
    for whole, selected in zip(transformer(z, parameters), part(z[index], parameters[:, index]), strict=True):
        assert torch.allclose(whole[index], selected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "interval affine"])
def test_arrays_come_batch_first(name: str) -> None:
    array = MAKERS[name](Domain.real((2, 1, 2)))
    flat = MAKERS[name](Domain.real(4))
    z = random_states(Domain.real((2, 1, 2)), 3)
    parameters = raw(array, *z.shape)
    expected = flat(z.view(3, 4).T, parameters.view(-1, 3, 4).transpose(1, 2))
    for got, wanted in zip(array(z, parameters), expected, strict=True):
        assert torch.allclose(got.view(3, 4).T, wanted)
    assert torch.allclose(array.inverse(array(z, parameters)[0], parameters)[0], z, atol=1e-9)


def test_interval_affine_is_affine_on_its_line() -> None:
    """Against the formulas of the line, at the location, its unit and elsewhere; widths set the unit."""
    location, width = torch.tensor([1.4, 0.5]).double(), torch.tensor([0.05, 2.0]).double()
    affine = IntervalAffine(Domain.interval(1.0, 2.0) + Domain.real(1), location, width)
    z = torch.linspace(1.01, 1.99, 50, dtype=torch.float64).repeat(2, 1)
    parameters = raw(affine, 2, 1).expand(-1, -1, 50)
    x, _ = affine(z, parameters)
    scale = (2.0 * (parameters[1] / 2.0).tanh()).exp()

    def line(fraction: Tensor) -> Tensor:
        return (fraction - 0.5) / (fraction * (1.0 - fraction)).sqrt()

    home, unit = line(torch.tensor(0.4).double()), 0.05 / (4.0 * 0.24**1.5)
    expected = (line(z[0] - 1.0) - home) * scale[0] + home + unit * parameters[0, 0]
    assert torch.allclose(line(x[0] - 1.0), expected)
    assert torch.allclose(x[1], scale[1] * (z[1] - 0.5) + 0.5 + 2.0 * parameters[0, 1])
    step = torch.stack([torch.full((2, 1), 0.01), torch.zeros(2, 1)]).double()
    assert torch.allclose(affine(location[:, None], step)[0] - location[:, None], 0.01 * width[:, None], rtol=1e-2)
    with pytest.raises(DomainError, match="of intervals and real lines"):
        IntervalAffine(Domain.circle(1))


def test_bernstein_is_the_polynomial_of_its_coefficients() -> None:
    bernstein = Bernstein(Domain.interval(-1.0, 3.0), degree=5)
    parameters = raw(bernstein, 1, 1)
    steps = 1e-3 + torch.nn.functional.softplus(parameters[1:, 0, 0] + math.log(math.expm1(0.999)))
    heights = torch.cat([torch.zeros(1).double(), steps.cumsum(0) / steps.sum()])
    z = torch.linspace(-1.0, 3.0, 23, dtype=torch.float64)
    polynomial = BPoly((-1.0 + 4.0 * heights[:, None]).numpy(), [-1.0, 3.0])
    x, log_slope = bernstein(z[None], parameters.expand(-1, 1, 23))
    assert x[0].numpy() == pytest.approx(polynomial(z.numpy()), abs=1e-13)
    assert log_slope[0].exp().numpy() == pytest.approx(polynomial.derivative()(z.numpy()), abs=1e-12)


@pytest.mark.parametrize("domain", [Domain.real(1), Domain.circle(1, -5.0, 5.0)], ids=str)
def test_monotonic_is_the_integral_of_its_net(domain: Domain) -> None:
    monotonic = UnconstrainedMonotonic(domain, units=3, cells=10)
    parameters = raw(monotonic, 1, 1)
    is_real = domain[0].coordinates[0].kind == "real"
    shift, cosines, sines, constant = parameters[:, 0, 0].split([1, 3, 3, 1])
    frequencies = (math.pi if is_real else 2.0 * math.pi) * torch.arange(1.0, 4.0, dtype=torch.float64)
    damping = 1.0 / (1.0 + (frequencies * (cosines.abs() + sines.abs())).sum() / 20.0)

    def integrand(share: float) -> float:
        waves = cosines * (frequencies * share).cos() + sines * (frequencies * share).sin()
        return (constant + damping * waves.sum()).exp().item()

    total = 1.0 if is_real else quad(integrand, 0.0, 1.0, epsabs=1e-13)[0]
    for z in (-5.0, -0.7, 1.3, 4.9):
        x, log_slope = monotonic(torch.full((1, 1), z, dtype=torch.float64), parameters)
        share = shift.item() + quad(integrand, 0.0, (z + 5.0) / 10.0, epsabs=1e-13)[0] / total
        assert x.item() == pytest.approx(-5.0 + 10.0 * (share if is_real else share % 1.0), abs=1e-9)
        assert log_slope.exp().item() == pytest.approx(integrand((z + 5.0) / 10.0) / total, rel=1e-13)


def test_monotonic_keeps_its_slope_whatever_the_parameters() -> None:
    """The quadrature's error where the exponent is as steep as it may be, against the derivative of the sum itself."""
    monotonic = UnconstrainedMonotonic(Domain.interval(0.0, 1.0) + Domain.circle(1))
    z = random_states(monotonic.domain, 2000).T.contiguous().requires_grad_()
    for scale in (1.0, 100.0):
        x, log_slope = monotonic(z, raw(monotonic, *z.shape, scale=scale))
        (slope,) = torch.autograd.grad(x.sum(), z)
        assert (log_slope - slope.log()).abs().max() < 1e-9


def test_deep_sigmoidal_is_its_formula_and_never_saturates() -> None:
    sigmoidal = DeepSigmoidal(Domain.real(1), units=3)
    z = torch.linspace(-4.0, 4.0, 9, dtype=torch.float64)[None]
    parameters = raw(sigmoidal, 1, 1).expand(-1, 1, 9)
    log_weight, slope, offset = sigmoidal._units(parameters)
    mixture = (log_weight.exp() * (slope * z + offset).sigmoid()).sum(0)
    x, _ = sigmoidal(z, parameters)
    assert torch.allclose(x, mixture.logit(), atol=1e-9)
    # Far out the flattest unit alone is left: the slope is its own.
    far = torch.tensor([[-1e4, 1e4]])
    log_slope = sigmoidal(far, parameters[:, :, :2].float())[1]
    assert torch.allclose(log_slope.double(), slope[:, 0, 0].min().log().expand(1, 2), atol=1e-3)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6, 1e8])
def test_slopes_of_deep_sigmoidal_keep_their_digits_far_out(size: float) -> None:
    """Single against double precision, with units that are nearly alike among others."""
    sigmoidal = DeepSigmoidal(Domain.real(1), units=4)
    for scale in (1e-3, 1.0):
        parameters = raw(sigmoidal, 1, 200, scale=scale)
        z = size * torch.linspace(-1.0, 1.0, 200, dtype=torch.float64)[None]
        x, log_slope = sigmoidal(z, parameters)
        rough_x, rough = sigmoidal(z.float(), parameters.float())
        assert (rough - log_slope).abs().max() < 1e-5
        assert torch.allclose(rough_x.double(), x, rtol=1e-5, atol=1e-5)


def test_units_of_deep_sigmoidal_part_from_each_other() -> None:
    """From zeros, where all units are alike, descent finds a map with two steps, which one unit could not make."""
    sigmoidal = DeepSigmoidal(Domain.real(1), units=4).double()
    z = torch.linspace(-4.0, 4.0, 81, dtype=torch.float64)[None]
    goal = z + 2.0 * (3.0 * z).tanh()
    parameters = torch.zeros(12, 1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (sigmoidal(z, parameters.expand(-1, 1, 81))[0] - goal).square().mean()
        loss.backward()
        optimizer.step()
    straight = torch.linalg.lstsq(z.T, goal.T).solution
    assert loss.item() < 0.1 * (z.T @ straight - goal.T).square().mean().item()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: RationalQuadratic(Domain.real(1), bins=1000), OptionError, "fewer than 1000 bins, .* got 1000"),
        (lambda: Bernstein(Domain.real(1), degree=1), OptionError, "degree of at least 2; got 1"),
        (lambda: Bernstein(Domain.real(1), bound=-1.0), OptionError, "Bernstein: expected a positive bound; got -1"),
        (lambda: UnconstrainedMonotonic(Domain.real(1), units=0), OptionError, "one unit and one cell; got 0 and 16"),
        (lambda: DeepSigmoidal(Domain.real(1), units=0), OptionError, "at least one unit; got 0"),
        (
            lambda: DeepSigmoidal(Domain.real(1) + Domain.circle(1, names=["psi"])),
            DomainError,
            r"DeepSigmoidal: expected real coordinates; got circle\(-3.142, 3.142\) 'psi'",
        ),
    ],
)
def test_impossible_options_are_refused(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()
