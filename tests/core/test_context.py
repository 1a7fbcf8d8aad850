"""Layers that are shown the logarithm of a context."""

from __future__ import annotations

import pytest
import torch

from boltzflow.core import Chain, Domain, Flow, distributions, layers
from boltzflow.core.kernels import GeometricPath, RandomWalk
from boltzflow.errors import OptionError
from boltzflow.testing import randomize_parameters

DOMAIN = Domain.circle(1) + Domain.real(1)


def coupling() -> layers.SplineCoupling:
    layer = layers.SplineCoupling(DOMAIN, [True, False], bins=4, context_size=1)
    randomize_parameters(layer)
    return layer.double()


def test_both_directions_show_the_scaled_logarithm() -> None:
    inner = coupling()
    layer = layers.LogContext(inner, 300.0, 1200.0)
    z = torch.randn(3, 2, dtype=torch.float64)
    kelvins = torch.tensor([[300.0], [600.0], [1200.0]])
    scaled = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    for found, expected in (
        (layer(z, kelvins), inner(z, scaled)),
        (layer.inverse(z, kelvins), inner.inverse(z, scaled)),
    ):
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    x, log_ratio = layer(z, kelvins)
    back, log_back = layer.inverse(x, kelvins)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_back, -log_ratio, rtol=0, atol=1e-9)


def test_a_layer_within_is_not_hidden() -> None:
    stochastic = layers.KernelLayer(RandomWalk(DOMAIN, 0.1))
    base = distributions.Independent(DOMAIN).double()
    stochastic.bind(GeometricPath(base, base))
    flow = Flow(base, Chain([layers.LogContext(Chain([stochastic.double()]), 1.0, 2.0)]))
    assert flow.transform.stochastic_layers == (stochastic,)
    assert not layers.LogContext(stochastic, 1.0, 2.0).whole_directions
    assert layers.LogContext(coupling(), 1.0, 2.0).whole_directions == ("forward", "inverse")


def test_what_is_no_range_or_no_context_is_refused() -> None:
    with pytest.raises(OptionError, match="expected a range 0 < low < high; got 0 to 1"):
        layers.LogContext(coupling(), 0.0, 1.0)
    with pytest.raises(OptionError, match="expected a range 0 < low < high; got 2 to 1"):
        layers.LogContext(coupling(), 2.0, 1.0)
    with pytest.raises(OptionError, match="expected a context of size 1; got none"):
        layers.LogContext(coupling(), 1.0, 2.0)(torch.zeros(2, 2).double())
