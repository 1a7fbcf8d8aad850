"""Continuous flows against solutions in closed form; both traces, both ways to gradients; what is refused."""

import math
import sys

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import Domain, Flow, layers, nets
from boltzflow.core.distributions import Independent
from boltzflow.errors import BoltzflowError, DomainError, MissingDependencyError, OptionError
from boltzflow.testing import check_density, randomize_parameters

CYLINDER = Domain.real(1) + Domain.circle(1, 0.0, 3.0)


class Bare(nn.Identity):
    """No hidden layer: the velocity is linear in the features."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.out_features = inputs


def linear(domain: Domain, weight: Tensor, **options) -> layers.ContinuousFlow:
    layer = layers.ContinuousFlow(domain, conditioner=Bare, **options).double()
    with torch.no_grad():
        layer.velocity.head.weight.copy_(weight)
    return layer


def test_linear_velocity_gives_the_matrix_exponential() -> None:
    matrix = torch.tensor([[0.3, -1.0], [0.8, -0.7]], dtype=torch.float64)
    layer = linear(Domain.real(2), torch.cat([matrix, torch.zeros(2, 1)], 1))
    z = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, log_ratio = layer(z)
    assert torch.allclose(x, z @ torch.matrix_exp(matrix).T, atol=1e-8)
    assert torch.allclose(log_ratio, matrix.trace().expand(6), atol=1e-8)
    back, log_back = layer.inverse(x)
    assert torch.allclose(back, z, atol=1e-8)
    assert torch.allclose(log_back, -log_ratio, atol=1e-8)


def test_velocity_depends_on_time() -> None:
    """dx/dt = 2t: every state moves by 1."""
    layer = linear(Domain.real(1), torch.tensor([[0.0, 2.0]]))
    assert torch.allclose(layer(torch.zeros(3, 1, dtype=torch.float64))[0], torch.ones(3, 1, dtype=torch.float64))


def test_circle_follows_its_closed_form() -> None:
    """With dφ/dt = a sin φ, tan φ/2 grows as exp(a t), through the seam or not."""
    a = 1.3
    layer = linear(Domain.circle(1), torch.tensor([[0.0, a / math.pi, 0.0]]))
    phi = torch.linspace(-3.1, 3.1, 9, dtype=torch.float64)[:, None]
    x, log_ratio = layer(phi)
    expected = 2.0 * ((phi / 2.0).tan() * math.exp(a)).atan()
    assert torch.allclose(x, expected, atol=1e-7)
    slope = math.exp(a) * (1.0 + (phi / 2.0).tan().square()) / (1.0 + (expected / 2.0).tan().square())
    assert torch.allclose(log_ratio, slope.log().squeeze(1), atol=1e-7)


def test_circles_are_wrapped_at_the_end() -> None:
    layer = linear(CYLINDER, torch.zeros(2, 4))
    with torch.no_grad():
        layer.velocity.head.bias.copy_(torch.tensor([0.0, 1.0]))  # half the circumference
    x, _ = layer(torch.tensor([[0.0, 2.0], [0.0, 0.5]], dtype=torch.float64))
    assert torch.allclose(x[:, 1], torch.tensor([0.5, 2.0], dtype=torch.float64))


def random_layer(**options) -> layers.ContinuousFlow:
    layer = layers.ContinuousFlow(CYLINDER, conditioner=lambda n: nets.MLP(n, (16,)), **options).double()
    randomize_parameters(layer)
    return layer


def test_flow_integrates_to_one() -> None:
    flow = Flow(Independent(CYLINDER), random_layer()).double()
    with torch.no_grad():
        check_density(flow.log_prob, flow.domain, points=61, tolerance=1e-5)


def test_hutchinson_trace_is_unbiased_in_training_and_exact_in_evaluation() -> None:
    """z-scores of 1000 random directions for one state in each direction of the flow."""
    exact, random = random_layer(), random_layer(trace="hutchinson")
    z = torch.tensor([[0.7, 1.1]], dtype=torch.float64).repeat(1000, 1)
    for name in ("forward", "inverse"):
        generator = torch.Generator().manual_seed(1)
        estimate = getattr(random.train(), name)(z, generator=generator)[1]
        again = getattr(random, name)(z, generator=generator.manual_seed(1))[1]
        assert torch.equal(estimate, again)
        expected = getattr(exact, name)(z[:1])[1]
        error = estimate.std() / len(z) ** 0.5
        assert error > 1e-4  # the test sees noise
        assert abs(estimate.mean() - expected) / error < 4.5
        assert torch.allclose(getattr(random.eval(), name)(z[:1])[1], expected, atol=1e-8)


def test_adjoint_has_the_same_gradients() -> None:
    z = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients = []
    for adjoint in (False, True):
        layer = random_layer(adjoint=adjoint, context_size=1)
        start, context = z.clone().requires_grad_(), torch.ones(4, 1, dtype=torch.float64, requires_grad=True)
        x, log_ratio = layer.inverse(start, context)
        loss = (x.cos().sum(1) * log_ratio).sum()
        gradients.append(torch.autograd.grad(loss, [start, context, *layer.parameters()]))
    for plain, adjoint in zip(*gradients, strict=True):
        assert plain.abs().max() > 1e-6
        assert torch.allclose(plain, adjoint, rtol=1e-5, atol=1e-7)


def test_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(MissingDependencyError, match=r"torchdiffeq.*install boltzflow\[ode\]"):
        layers.ContinuousFlow(Domain.real(1))


@pytest.mark.parametrize(
    ("domain", "options", "error", "message"),
    [
        (Domain.interval(0.0, 1.0, names=["bond"]), {}, DomainError, r"got interval\(0, 1\) 'bond'"),
        (Domain.real((2, 2)), {}, DomainError, "expected a flat domain"),
        (Domain.real(1), {"trace": "guess"}, OptionError, "expected one of the traces exact, hutchinson; got 'guess'"),
        (Domain.real(1), {"tolerance": 0.0}, OptionError, "positive tolerance; got 0"),
    ],
)
def test_impossible_flows_are_refused(domain: Domain, options, error: type[BoltzflowError], message: str) -> None:
    with pytest.raises(error, match=message):
        layers.ContinuousFlow(domain, **options)
