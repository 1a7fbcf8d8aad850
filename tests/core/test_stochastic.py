"""Stochastic layers carry exact path weights, whatever their parameters, also between bijections."""

import copy
import io
import math

import pytest
import torch
from torch import Tensor

from boltzflow.core import Chain, Domain, Flow, Inverse, StochasticFlow, importance, layers, nets, objectives
from boltzflow.core.distributions import Independent
from boltzflow.core.kernels import (
    GeometricPath,
    HamiltonianMonteCarlo,
    Kernel,
    Langevin,
    RandomWalk,
    UnderdampedLangevin,
)
from boltzflow.errors import DomainError, IntractableDensityError, OptionError
from boltzflow.testing import randomize_parameters
from tests.core.registry import STOCHASTIC
from tests.core.registry.stochastic import DOMAIN, Coupled

LOG_FACTOR = 3.0


class Unnormalised:
    """The coupled density times e³; with a context, its first number times more."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return Coupled().log_prob(x) + LOG_FACTOR + (0.0 if context is None else context[:, 0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def base() -> Independent:
    return Independent(DOMAIN, torch.tensor([0.2, 1.0, 0.6]), torch.tensor([1.3, 2.0, 1.0])).double()


def spline(mask: list[bool]) -> layers.SplineCoupling:
    layer = layers.SplineCoupling(DOMAIN, mask, bins=4, conditioner=lambda n: nets.MLP(n, (8,)))
    randomize_parameters(layer, scale=0.3)
    return layer


def sandwich(name: str) -> StochasticFlow:
    """Bijections around and between two layers of the same kind, all at untuned parameters."""
    case = STOCHASTIC[name]
    chain = Chain([spline([True, False, False]), case.make(), spline([False, True, True]), case.make()])
    for layer in chain.stochastic_layers:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(5)))
    return StochasticFlow(base(), chain.double(), Unnormalised())


def context_of(name: str, n: int) -> Tensor | None:
    size = STOCHASTIC[name].context_size
    return torch.randn(n, size, dtype=torch.float64, generator=generator(9)) if size else None


def observables(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0], x[:, 0] ** 2, x[:, 1].cos(), x[:, 1].sin(), x[:, 2], x[:, 0] * x[:, 1].sin()], 1)


def check_mean_is_one(weights: Tensor) -> None:
    """As a z-score; its error must be small, for wrong weights of a heavy tail would hide behind a large one."""
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert abs(weights.mean() - 1.0) < 4.5 * error, f"mean {weights.mean():.4f} ± {error:.4f}"


@pytest.mark.parametrize("name", STOCHASTIC)
def test_path_weights_are_exact(name: str) -> None:
    """Mean weight against Z, and weighted averages against exact samples, of 20 000 paths: z-scores."""
    flow, n = sandwich(name), 20_000
    context = context_of(name, n)
    with torch.no_grad():
        x, log_weights = flow.log_weights(n, context, generator=generator(1))
    assert DOMAIN.contains(x).all()
    weights = (log_weights - LOG_FACTOR - (0.0 if context is None else context[:, 0])).exp()
    check_mean_is_one(weights)
    exact = observables(Coupled().sample(50_000, generator=generator(2))[0])
    seen = weights[:, None] * observables(x)
    z = (seen.mean(0) - exact.mean(0)) / (seen.var(0) / n + exact.var(0) / len(exact)).sqrt()
    assert z.abs().max() < 4.5, f"z-scores {z.tolist()}"


@pytest.mark.parametrize("name", STOCHASTIC)
def test_weights_of_the_way_back_are_exact(name: str) -> None:
    """From 20 000 samples of p to the base: E[q₀(z) e^log_ratio / p(x)] = 1 as a z-score."""
    flow, n = sandwich(name), 20_000
    x, log_p = Coupled().sample(n, generator=generator(3))
    with torch.no_grad():
        z, log_ratio = flow.transform.inverse(x, context_of(name, n), generator=generator(4))
        weights = (flow.base.log_prob(z) + log_ratio - log_p).exp()
    check_mean_is_one(weights)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_gradient_of_parameters_against_differences(name: str) -> None:
    """The derivative of x and log_ratio along a random direction of all parameters, noise held fixed."""
    flow = sandwich(name)
    layer = flow.transform.stochastic_layers[0]
    z, _ = base().sample(8, generator=generator(6))
    context = context_of(name, 8)
    probe = torch.randn(8, 3, dtype=torch.float64, generator=generator(7))

    def value() -> Tensor:
        x, log_ratio = layer(z, context, generator=generator(8))
        return (probe * x).sum() + log_ratio.sum()

    parameters = list(layer.parameters())
    assert all(p.requires_grad for p in parameters)
    gradient = torch.autograd.grad(value(), parameters)
    assert all(g.abs().max() > 0.0 for g in gradient)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=generator(i)) for i, p in enumerate(parameters)]
    step, ends = 1e-6, []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(sign * step * d)
            ends.append(value())
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.sub_(sign * step * d)
    expected = (ends[0] - ends[1]) / (2 * step)
    got = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_layer_keeps_dtype_and_is_saved_without_its_path(name: str, dtype: torch.dtype) -> None:
    case = STOCHASTIC[name]
    layer, other = case.make().to(dtype), case.make().to(dtype)
    randomize_parameters(layer, scale=0.1)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x, _ = base().to(dtype).sample(16, generator=generator())
    context = context_of(name, 16)
    context = None if context is None else context.to(dtype)
    for each in (layer, other):
        with pytest.raises(OptionError, match=f"{type(layer).__name__}: expected a layer bound to a path"):
            each(x, context)
        each.bind(GeometricPath(base().to(dtype), Unnormalised()))
    one, two = (each(x, context, generator=generator(1)) for each in (layer, other))
    assert one[0].dtype == one[1].dtype == dtype
    assert one[1].shape == (16,)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_a_context_changes_the_step_sizes() -> None:
    layer = layers.KernelLayer(Langevin(DOMAIN, 0.1, context_size=1, adjusted=False, trainable=True)).double()
    layer.bind(GeometricPath(base(), Coupled()))
    with torch.no_grad():
        layer.kernel.log_step_size.weight.fill_(1.0)
    z = torch.zeros(20_000, 3, dtype=torch.float64)
    spread = [layer(z, torch.full((len(z), 1), c).double(), generator=generator())[0][:, 0].std() for c in (0.0, 1.0)]
    assert (spread[1] / spread[0]).item() == pytest.approx(math.e, rel=0.01)


@pytest.mark.parametrize("kernel", [RandomWalk, Langevin])
def test_without_a_gradient_through_the_steps_each_block_is_trained_for_its_own_density(kernel: type[Kernel]) -> None:
    """The gradient of reverse KL on path weights is then the sum of those of two reverse KLs, block by block."""

    def flow(stop_gradient: bool) -> StochasticFlow:
        middle = layers.KernelLayer(kernel(DOMAIN, 0.3, 4), 0.5, stop_gradient=stop_gradient)
        chain = Chain([spline([True, False, False]), middle, spline([False, True, True])])
        return StochasticFlow(base(), chain.double(), Unnormalised())

    through, stopped = flow(False), flow(True)
    stopped.load_state_dict(through.state_dict())
    losses = [objectives.reverse_kl(f, Unnormalised(), 200, generator=generator(4)) for f in (through, stopped)]
    assert torch.equal(losses[0].log_weights, losses[1].log_weights)
    parameters = [p for p in stopped.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses[1].value, parameters)

    first, middle, last = stopped.transform
    random = generator(4)
    z, log_q = stopped.base.sample(200, generator=random)
    x, log_ratio = first(z)
    before = log_q - log_ratio - stopped.path.log_prob(x, fraction=0.5)
    with torch.no_grad():
        y, _ = middle(x, generator=random)
    assert not torch.equal(x, y)
    end, log_ratio = last(y)
    after = -log_ratio - Unnormalised().log_prob(end)
    expected = torch.autograd.grad((before + after).mean(), parameters)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)
    passing = torch.autograd.grad(losses[0].value, [p for p in through.parameters() if p.requires_grad])
    assert any(not torch.allclose(one, two) for one, two in zip(found, passing, strict=True))


def test_more_steps_bring_samples_closer_to_the_target() -> None:
    """The purpose of it all: kernels between base and target raise the effective sample size."""
    sizes = []
    for steps in (1, 30):
        step = torch.tensor([0.15, 0.15, 0.03])
        kernels = [UnderdampedLangevin(DOMAIN, step, steps, adjusted=False, trainable=True) for _ in range(3)]
        chain = Chain([layers.KernelLayer(kernel, f) for kernel, f in zip(kernels, (0.25, 0.5, 0.75), strict=True)])
        flow = StochasticFlow(base(), chain.double(), Unnormalised())
        with torch.no_grad():
            sizes.append(importance.effective_sample_size(flow.log_weights(3000, generator=generator())[1]))
    assert sizes[1] > sizes[0] + 0.2


def test_training_finds_the_step_size() -> None:
    """Reverse KL of Langevin paths from N(0, 1) to N(0, 4), whose gradient is exact, lengthens steps that are tiny."""
    domain = Domain.real(1)
    target = Independent(domain, width=torch.tensor([2.0]))
    kernels = [Langevin(domain, 0.05, 5, adjusted=False, trainable=True) for _ in range(3)]
    chain = Chain([layers.KernelLayer(kernel, f) for kernel, f in zip(kernels, (0.25, 0.5, 0.75), strict=True)])
    flow = StochasticFlow(Independent(domain), chain, target)
    optimizer, random, losses = torch.optim.Adam(flow.parameters(), lr=0.1), generator(), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = objectives.reverse_kl(flow, target, 256, generator=random)
        loss.value.backward()
        optimizer.step()
        losses.append(loss.value.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert all(layer.kernel.step_size(torch.zeros(1)) > 0.3 for layer in chain)


def test_step_sizes_adapt_and_frozen_ones_stay() -> None:
    chain = Chain(
        [layers.KernelLayer(RandomWalk(DOMAIN, 5.0, 10), 0.5), layers.KernelLayer(HamiltonianMonteCarlo(DOMAIN, 1e-3))]
    )
    flow = StochasticFlow(base(), chain, Unnormalised())
    assert not any(p.requires_grad for p in chain.parameters())
    flow.adapt_step_sizes(500, target_acceptance=0.5, iterations=60, generator=generator())
    with torch.no_grad():
        flow.sample(5000, generator=generator(1))
    assert [float(layer.acceptance) for layer in chain] == pytest.approx([0.5, 0.5], abs=0.05)
    assert not any(p.requires_grad for p in chain.parameters())


def test_the_target_is_no_part_of_the_flow() -> None:
    domain = Domain.real(1)
    target = Independent(domain, trainable=True)
    flow = StochasticFlow(Independent(domain), layers.KernelLayer(RandomWalk(domain, 0.1, 10)), target)
    learned = {name for name in flow.state_dict() if not name.endswith("fingerprint")}
    assert learned == {"base.location", "base.log_width", "transform.kernel.log_step_size.value"}
    twin = copy.deepcopy(flow)
    assert twin.path.start is twin.base
    flow.double()
    assert target.location.dtype == torch.float32
    x, log_q = Flow(Independent(domain), Inverse(flow.transform)).sample(3)
    assert x.shape == (3, 1)
    assert log_q.shape == (3,)


def test_a_stochastic_flow_says_what_is_wrong() -> None:
    flow = sandwich("Metropolis")
    with pytest.raises(IntractableDensityError, match="KernelLayer"):
        flow.log_prob(torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(OptionError, match="no stochastic layer for a path gradient"):
        objectives.reverse_kl(flow, Unnormalised(), 4, path_gradient=True)
    with pytest.raises(OptionError, match=r"KernelLayer: expected a fraction in \[0, 1\]; got 2"):
        layers.KernelLayer(RandomWalk(DOMAIN, 0.1), 2.0)
    with pytest.raises(OptionError, match="KernelLayer: expected a fraction"):
        layers.KernelLayer(HamiltonianMonteCarlo(DOMAIN, 0.1), fraction=-1.0)
    interval = Domain.interval(0.0, 1.0)
    to_interval = layers.ToInterval(interval)
    with pytest.raises(DomainError, match=r"Expected KernelLayer to act on .*; got Domain\[interval\(0, 1\)\]"):
        StochasticFlow(
            Independent(Domain.real(1)),
            Chain([to_interval, layers.KernelLayer(RandomWalk(interval, 0.1))]),
            Independent(interval),
        )
