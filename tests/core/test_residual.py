"""Residual layers: exact and estimated log-determinants, their gradients, the inverse, and who sees an estimate."""

import math

import pytest
import torch

from boltzflow.core import Chain, Domain, Flow, Inverse, layers, nets
from boltzflow.core.distributions import Independent
from boltzflow.errors import ConvergenceError, DomainError, OptionError
from boltzflow.testing import check_density, randomize_parameters
from tests.core.registry.residual import SineNet


def _layer(
    size: int = 3, *, lipschitz: float = 0.6, estimator: layers.LogDetEstimator | None = None, checkpoint: bool = False
) -> layers.Residual:
    net = nets.LipschitzMLP(size, (16, 16), lipschitz=lipschitz)
    layer = layers.Residual(Domain.real(size), net, estimator=estimator, checkpoint=checkpoint).double()
    randomize_parameters(layer, scale=0.6)
    return layer


def _strong(size: int = 3) -> layers.Residual:
    """A layer whose Jacobian is about 0.5, so that high powers of it count."""
    layer = layers.Residual(Domain.real(size), nets.LipschitzMLP(size, (16,), lipschitz=0.6)).double()
    randomize_parameters(layer, scale=0.2)
    with torch.no_grad():
        for linear in layer.net.layers:
            linear.weight += 3.0 * torch.eye(*linear.weight.shape)
        layer.net.layers[0].bias.value += 2.0
    return layer


def _states(n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


ESTIMATORS = {
    "geometric": layers.LogDetEstimator(),
    "geometric, longer": layers.LogDetEstimator(exact_terms=1, mean_terms=3.0, probes=2),
    "poisson": layers.LogDetEstimator(exact_terms=3, roulette="poisson", mean_terms=2.0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_are_unbiased(name: str) -> None:
    """Value and gradient against the exact ones: z-scores of 500 draws, each for a batch of 16 states."""
    layer, x, draws = _strong(), 0.3 * _states(16, 3), 500
    exact = layer.inverse(x)[1]
    parameters = list(layer.parameters())
    exact_gradient = torch.cat(
        [g.flatten() for g in torch.autograd.grad(exact.sum(), parameters, allow_unused=True) if g is not None]
    )
    layer.estimator = ESTIMATORS[name]
    generator = torch.Generator().manual_seed(1)
    values, gradients = [], []
    for _ in range(draws):
        value = layer.inverse(x, generator=generator)[1]
        found = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        values.append(value.detach())
        gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    for what, sample, expected in (("value", values, exact), ("gradient", gradients, exact_gradient)):
        got = torch.stack(sample)
        error = got.std(0) / math.sqrt(draws)
        assert error.max() > 0.0, f"{what}: no noise, so nothing was estimated"
        z = ((got.mean(0) - expected) / error.clamp(min=1e-12)).detach()
        assert z.abs().max() < 4.5, f"{what}: z-scores up to {z.abs().max():.2f}"


def test_an_estimate_without_roulette_is_the_truncated_series() -> None:
    """Averaged over 20 000 probes against tr J − tr J²/2 of the exact Jacobian: a z-score."""
    layer, x = _strong(size=2), 0.3 * _states(1, 2)
    jacobian = torch.autograd.functional.jacobian(lambda t: layer.net(t)[0], x)[:, 0]
    expected = torch.trace(jacobian) - torch.trace(jacobian @ jacobian) / 2
    assert (expected - layer.inverse(x)[1]).abs() > 0.03, "the truncation must be seen"
    layer.estimator = layers.LogDetEstimator(exact_terms=2, roulette=None)
    values = layer.inverse(x.expand(20_000, 2), generator=torch.Generator().manual_seed(2))[1].detach()
    assert (values.mean() - expected).abs() < 4.5 * values.std() / math.sqrt(20_000)


def test_survival_is_that_of_the_law_which_is_drawn() -> None:
    """The numbers of further terms of 8000 draws against their laws: z-scores of P(N ≥ n)."""
    draws, like = 8000, torch.empty(1, 1)
    for roulette in ("geometric", "poisson"):
        estimator = layers.LogDetEstimator(exact_terms=0, roulette=roulette, mean_terms=1.5)
        generator = torch.Generator().manual_seed(3)
        counts = torch.tensor([len(estimator.draw(like, generator)[0]) for _ in range(draws)]).double()
        law = torch.distributions.Poisson(1.5) if roulette == "poisson" else torch.distributions.Geometric(0.4)
        for n in range(6):
            expected = 1.0 - law.log_prob(torch.arange(float(n))).exp().sum().item()
            assert math.isclose(estimator.survival(n), expected, abs_tol=1e-6)
            sigma = math.sqrt(max(expected * (1 - expected), 1e-12) / draws)
            assert abs((counts >= n).double().mean().item() - expected) < 4.5 * sigma + 1e-6
        assert abs(counts.mean().item() - 1.5) < 4.5 * counts.std().item() / math.sqrt(draws)


def test_only_training_with_gradients_sees_an_estimate() -> None:
    exact, layer = _layer(), _layer(estimator=layers.LogDetEstimator())
    x = _states(8, 3)
    flow = Flow(Independent(Domain.real(3)), layer).double()
    truth = exact.inverse(x)[1]
    first, second = layer.inverse(x)[1], layer.inverse(x)[1]
    assert not torch.equal(first, second)
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(x)[1], truth)
        sample, log_q = flow.sample(8, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(flow.log_prob(sample), log_q)
    layer.eval()
    torch.testing.assert_close(layer.inverse(x)[1], truth)
    torch.testing.assert_close(layer(exact.inverse(x)[0])[1], -truth)


def test_estimates_follow_the_generator() -> None:
    layer, x = _layer(estimator=layers.LogDetEstimator(probes=3)), _states(8, 3)
    values = [layer.inverse(x, generator=torch.Generator().manual_seed(s))[1] for s in (5, 5, 6)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


@pytest.mark.parametrize("estimator", [None, layers.LogDetEstimator()], ids=["exact", "estimated"])
def test_recomputing_saves_memory_and_changes_nothing(estimator: layers.LogDetEstimator | None) -> None:
    """Also for losses that weight the samples differently."""
    x, weights = _states(8, 3), torch.linspace(-1.0, 2.0, 8, dtype=torch.float64)
    results, saved = [], []
    for recompute in (False, True):
        layer = _layer(estimator=estimator, checkpoint=recompute)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            z, log_det = layer.inverse(x, generator=torch.Generator().manual_seed(4))
        saved.append(sum(sizes))
        (z.sum() + (weights * log_det).sum()).backward()
        results.append([z, log_det, *(p.grad for p in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    assert saved[1] < saved[0] / 5


def test_neumann_gradients_need_no_more_memory_for_more_terms() -> None:
    x, saved = _states(8, 3), []
    for terms in (1, 30):
        layer = _layer(estimator=layers.LogDetEstimator(exact_terms=terms, roulette=None))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            layer.inverse(x)
        saved.append(sum(sizes))
    assert saved[0] == saved[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_way_back_is_exact_to_rounding_at_the_largest_constant(dtype: torch.dtype) -> None:
    """Three layers with nets whose weights are all at their bounds."""
    chain = Chain([layers.Residual(Domain.real(4), nets.LipschitzMLP(4, (32, 32))) for _ in range(3)]).to(dtype)
    randomize_parameters(chain, scale=3.0)
    x = 2.0 * _states(200, 4).to(dtype)
    z, log_ratio = chain.inverse(x)
    again, log_back = chain(z)
    eps = torch.finfo(dtype).eps
    assert (again - x).abs().max() < 1e4 * eps
    assert (log_back + log_ratio).abs().max() < 1e4 * eps


def test_gradients_through_the_solution() -> None:
    """Of a sample with respect to latent state, context and parameters, against finite differences."""
    net = nets.LipschitzMLP(3, (8,), context_size=2)
    layer = layers.Residual(Domain.real(3), net).double()
    randomize_parameters(layer)
    z, context = _states(2, 3).requires_grad_(), _states(2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, c: layer(z, c), (z, context), atol=1e-6)
    weight = net.layers[0].weight

    def of_weight(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.func.functional_call(layer, {"net.layers.0.weight": w}, (z, context))

    assert torch.autograd.gradcheck(of_weight, weight.detach().clone().requires_grad_(), atol=1e-6)


def test_tiny_gradients_are_as_exact_as_large_ones() -> None:
    layer, z = _layer(), _states(4, 3).requires_grad_()
    one, tiny = (torch.autograd.grad((scale * layer(z)[0]).sum(), z)[0] for scale in (1.0, 1e-12))
    torch.testing.assert_close(1e12 * tiny, one, rtol=1e-12, atol=1e-12)


def test_density_integrates_to_one() -> None:
    chain = Chain([_layer(2, lipschitz=0.9), Inverse(_layer(2, lipschitz=0.5))])
    flow = Flow(Independent(Domain.real(2)), chain).double()
    with torch.no_grad():
        check_density(flow.log_prob, Domain.real(2), points=401, tolerance=1e-4)


def test_closed_jacobians_agree_with_automatic_differentiation() -> None:
    class Plain(nets.LipschitzNet):
        def __init__(self, net: nets.LipschitzNet) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            return self.net(x, context)

    for net, size in ((nets.LipschitzMLP(5, (8, 8, 8)), 5), (nets.LipschitzCNN((2, 3, 3), (4, 4)), 18)):
        net = net.double()
        randomize_parameters(net)
        x, u = _states(6, size), torch.randn(2, 6, size, dtype=torch.float64)
        for one, other in zip(_linearized(net, x, u), _linearized(Plain(net), x, u), strict=True):
            torch.testing.assert_close(one, other)


def _linearized(net: nets.LipschitzNet, x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value, vjp = net.bind(None).linearize(x)
    return value, vjp(u)


def test_the_explicit_direction_compiles_whole() -> None:
    layer = _layer()
    x = _states(16, 3)
    torch.compiler.reset()
    whole = torch.compile(layer.inverse, fullgraph=True, dynamic=False, backend="aot_eager")
    for got, expected in zip(whole(x), layer.inverse(x), strict=True):
        torch.testing.assert_close(got, expected)


class _Steep(nets.LipschitzNet):
    """x + g(x) = tanh x, which is never 2."""

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return x.tanh() - x


def test_what_is_no_contraction_is_noticed() -> None:
    with pytest.raises(ConvergenceError, match="Residual: expected a fixed point within 1000 iterations"):
        layers.Residual(Domain.real(1), _Steep())(torch.tensor([[0.5], [2.0]]))


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(DomainError, match="expected real coordinates only; got circle"):
        layers.Residual(Domain.real(1) + Domain.circle(1), SineNet(2))
    with pytest.raises(OptionError, match="expected exact_terms ≥ 0, probes ≥ 1 and mean_terms > 0; got -1, 1 and 1"):
        layers.LogDetEstimator(exact_terms=-1)
    with pytest.raises(OptionError, match="expected 'geometric', 'poisson' or None; got 'russian'"):
        layers.LogDetEstimator(roulette="russian")  # type: ignore[arg-type]
