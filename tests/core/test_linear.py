"""Mixing layers: starts, costs that hold by construction, domains that move along."""

import pytest
import torch

from boltzflow.core import Domain, layers
from boltzflow.errors import DomainError, OptionError, ShapeError
from boltzflow.testing import random_states, randomize_parameters

FLAT = Domain.real(6)
IMAGE = Domain.real((3, 4, 4))


def matrix_of(layer, context=None):
    """The columns are the images of unit vectors, less the image of zero."""
    n = len(layer.latent_domain)
    unit = torch.eye(n, dtype=torch.float64).view(n, *layer.latent_domain.shape)
    context = None if context is None else context.expand(n, -1)
    zero = layer(torch.zeros_like(unit), context)[0]
    return (layer(unit, context)[0] - zero).flatten(1).T


def test_a_permutation_moves_kinds_bounds_and_names():
    domain = Domain.circle(1, 0.0, 2.0, names=["phi"]) + Domain.real(1) + Domain.interval(1.0, 3.0, names=["bond"])
    layer = layers.Permutation(domain, [2, 0, 1])
    assert layer.data_domain == domain[[2, 0, 1]]
    assert layer.data_domain.names == ("bond", "phi", "x2")
    x = random_states(domain, 10)
    assert torch.equal(layer(x)[0], x[:, [2, 0, 1]])


def test_a_shuffle_is_drawn_from_the_generator_and_kept_in_the_state_dict():
    first, second = (
        layers.Permutation(Domain.real(50), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    assert not torch.equal(first.order, second.order)
    second.load_state_dict(first.state_dict())
    x = random_states(Domain.real(50), 2)
    assert torch.equal(first(x)[0], second(x)[0])
    assert torch.equal(second.inverse(second(x)[0])[0], x)


@pytest.mark.parametrize("order", ["swap", [0, 0, 1], [0, 1]])
def test_what_is_no_permutation_is_refused(order):
    with pytest.raises(OptionError, match="a permutation of 0 … 2"):
        layers.Permutation(Domain.real(3), order)


@pytest.mark.parametrize("context_size", [0, 4])
def test_lu_is_triangular_up_to_its_permutation_and_starts_as_it(context_size):
    layer = layers.LULinear(FLAT, permutation="reverse", context_size=context_size).double()
    context = torch.ones(1, 4, dtype=torch.float64) if context_size else None
    start = matrix_of(layer, context)
    assert torch.allclose(start, torch.eye(6, dtype=torch.float64).flip(0), atol=1e-6)
    randomize_parameters(layer)
    mixed = matrix_of(layer, context).flip(0)
    lower, upper = (part[0] for part in layer.matrix._factors(context))
    assert torch.allclose(mixed, lower @ upper)
    assert torch.equal(lower, lower.tril())
    assert torch.equal(upper, upper.triu())


@pytest.mark.parametrize("lu", [False, True])
def test_a_convolution_starts_as_a_rotation_of_the_channels_of_each_pixel(lu):
    layer = layers.Invertible1x1Conv(IMAGE, lu=lu).double()
    z = random_states(IMAGE, 5)
    x, log_ratio = layer(z)
    assert log_ratio.abs().max() < 1e-4  # 16 pixels times single-precision rounding of the start
    assert torch.allclose(x.norm(dim=1), z.norm(dim=1), rtol=1e-5)
    rotation = layer(torch.eye(3, dtype=torch.float64)[:, :, None, None].expand(3, 3, 4, 4))[0][:, :, 0, 0].T
    assert torch.allclose(torch.einsum("ij,bjhw->bihw", rotation, z), x)


def test_the_determinant_of_a_convolution_counts_each_pixel():
    layer = layers.Invertible1x1Conv(IMAGE, lu=False).double()
    with torch.no_grad():
        layer.matrix.weight.value.copy_(torch.diag(torch.tensor([2.0, 3.0, -0.5])))
    _, log_ratio = layer(random_states(IMAGE, 2))
    assert torch.allclose(log_ratio, 16 * torch.tensor(3.0, dtype=torch.float64).log())


def test_householder_is_orthogonal_and_starts_as_the_identity_if_even():
    layer = layers.Householder(FLAT, reflections=4).double()
    assert torch.allclose(matrix_of(layer), torch.eye(6, dtype=torch.float64))
    randomize_parameters(layer)
    q = matrix_of(layer)
    assert torch.allclose(q @ q.T, torch.eye(6, dtype=torch.float64))
    assert not torch.allclose(q, torch.eye(6, dtype=torch.float64), atol=0.1)
    assert torch.det(q) > 0.0
    odd = layers.Householder(FLAT, reflections=3).double()
    assert torch.det(matrix_of(odd)) < 0.0


def test_each_sample_has_the_matrix_of_its_context():
    layer = layers.InvertibleLinear(FLAT, context_size=2).double()
    randomize_parameters(layer)
    z, context = random_states(FLAT, 3), torch.randn(3, 2, dtype=torch.float64)
    x, log_ratio = layer(z, context)
    for i in range(3):
        own = matrix_of(layer, context[i : i + 1])
        assert torch.allclose(x[i], own @ z[i] + layer.bias(context)[i])
        assert torch.allclose(log_ratio[i], torch.linalg.slogdet(own).logabsdet)


def test_wrong_domains_and_options_are_refused():
    with pytest.raises(DomainError, match="LULinear: expected a flat real domain; got Domain\\[circle"):
        layers.LULinear(Domain.circle(2))
    with pytest.raises(DomainError, match=r"Invertible1x1Conv: expected a real domain of shape \(C, H, W\)"):
        layers.Invertible1x1Conv(FLAT)
    with pytest.raises(OptionError, match="start 'orthogonal' or 'identity'; got 'zero'"):
        layers.InvertibleLinear(FLAT, start="zero")
    with pytest.raises(OptionError, match="permutation 'reverse', 'shuffle' or None; got 'swap'"):
        layers.LULinear(FLAT, permutation="swap")
    with pytest.raises(OptionError, match="at least 1 reflection; got 0"):
        layers.Householder(FLAT, reflections=0)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(5, 2\)"):
        layers.LULinear(FLAT, context_size=2)(torch.zeros(5, 6), torch.zeros(5, 3))
