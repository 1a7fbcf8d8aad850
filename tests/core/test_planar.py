"""Planar and radial layers: their constraints, their limits, and what they refuse."""

import pytest
import torch

from boltzflow.core import Domain, layers
from boltzflow.errors import DomainError, OptionError
from boltzflow.testing import random_states, randomize_parameters

MAKERS = {
    "planar": lambda d: layers.Planar(d),
    "leaky": lambda d: layers.Planar(d, "leaky_relu"),
    "radial": lambda d: layers.Radial(d),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_layer_starts_as_the_identity(make) -> None:
    layer = make(Domain.real(4)).double()
    z = random_states(Domain.real(4), 10)
    for run in (layer.forward, layer.inverse):
        x, log_ratio = run(z)
        assert torch.allclose(x, z, atol=1e-14)
        assert torch.allclose(log_ratio, torch.zeros_like(log_ratio), atol=1e-14)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("scale", [1e-3, 3.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_parameters_stay_invertible(make, scale: float, dtype: torch.dtype) -> None:
    """w·û close to −1, or large: what comes back is z, up to one rounding of x divided by the slope."""
    layer = make(Domain.real(2)).to(dtype)
    for seed in range(5):
        randomize_parameters(layer, scale=scale, seed=seed)
        z = random_states(Domain.real(2), 200, dtype=dtype, generator=torch.Generator().manual_seed(seed))
        x, log_ratio = layer(z)
        again, log_back = layer.inverse(x)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda t: layer(t[None])[0][0]))(z)
        shrink = torch.linalg.matrix_norm(torch.linalg.inv(jacobian), ord=2).clamp(min=1.0)
        rounding = 32 * torch.finfo(dtype).eps * (1.0 + x.norm(dim=1) + z.norm(dim=1)) * shrink
        assert ((again - z).norm(dim=1) <= rounding).all()
        assert log_ratio.isfinite().all()
        assert log_back.isfinite().all()


def test_planar_with_w_zero_is_a_shift() -> None:
    layer = layers.Planar(Domain.real(2)).double()
    with torch.no_grad():
        layer.w.value.zero_()
        layer.u.value.copy_(torch.tensor([1.0, -2.0]))
        layer.b.value.fill_(0.5)
    z = random_states(Domain.real(2), 5)
    x, log_ratio = layer(z)
    shift = torch.tensor([1.0, -2.0]).double() * torch.tensor(0.5).double().tanh()
    assert torch.allclose(x, z + shift)
    assert torch.allclose(layer.inverse(x)[0], z)
    assert torch.allclose(log_ratio, torch.zeros_like(log_ratio))


def test_radial_at_its_centre() -> None:
    """The slope at the centre is g in each direction, and gradients are finite."""
    layer = layers.Radial(Domain.real(3)).double()
    randomize_parameters(layer)
    centre = layer.centre.value.detach()[None].clone().requires_grad_()
    gain = layer._stretch(None)[2]
    for sign, run in ((1.0, layer.forward), (-1.0, layer.inverse)):
        out, log_ratio = run(centre)
        assert torch.allclose(out, centre)
        assert torch.allclose(log_ratio, sign * 3.0 * gain.log())
        gradient = torch.autograd.grad(out.sum() + log_ratio.sum(), [centre, *layer.parameters()])
        assert all(g.isfinite().all() for g in gradient)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_other_kinds_are_refused(make) -> None:
    with pytest.raises(DomainError, match=r"expected real coordinates; got circle\(-3.142, 3.142\) 'phi'"):
        make(Domain.real(1) + Domain.circle(1, names=["phi"]))


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(OptionError, match="one of the activations tanh, leaky_relu; got 'relu'"):
        layers.Planar(Domain.real(1), "relu")  # type: ignore[arg-type]
