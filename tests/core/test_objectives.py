"""Objectives against exact values and gradients of Gaussians, and what they promise besides."""

import math

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import Bijection, Domain, Flow, StochasticLayer, objectives, recipes
from boltzflow.core.distributions import Independent
from boltzflow.core.objectives.loss import path_log_prob
from boltzflow.errors import OptionError, ShapeError

LOG_Z = 0.7
ALPHAS = [-0.5, 0.0, 0.5, 1.0, 2.0, 3.0]
MEAN, LOG_SCALE = 0.4, math.log(1.3)


class Affine(Bijection):
    """x = mean + e^log_scale z."""

    def __init__(self) -> None:
        super().__init__(Domain.real(1), Domain.real(1))
        self.mean = nn.Parameter(torch.tensor(MEAN, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE, dtype=torch.float64))

    def forward(self, z: Tensor, context=None, *, generator=None) -> tuple[Tensor, Tensor]:
        return self.mean + self.log_scale.exp() * z, self.log_scale.expand(len(z))

    def inverse(self, x: Tensor, context=None, *, generator=None) -> tuple[Tensor, Tensor]:
        return (x - self.mean) * (-self.log_scale).exp(), -self.log_scale.expand(len(x))


class Noise(StochasticLayer):
    """Adds normal noise; do and undo are equally likely."""

    def forward(self, z: Tensor, context=None, *, generator=None) -> tuple[Tensor, Tensor]:
        return z + torch.randn(z.shape, generator=generator, dtype=z.dtype), z.new_zeros(len(z))

    inverse = forward


class Normal:
    """e^LOG_Z N(x | 0, 1); impossible beyond `cut`."""

    def __init__(self, cut: float = math.inf) -> None:
        self.cut = cut

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x[:, 0] if context is None else x[:, 0] - context[:, 0]
        log_prob = -0.5 * x.square() - 0.5 * math.log(2 * math.pi) + LOG_Z
        return torch.where(x > self.cut, -torch.inf, log_prob)


def gaussian_flow() -> Flow:
    return Flow(Independent(Domain.real(1)).double(), Affine())


def renyi_over_alpha(flow: Flow, alpha: float) -> Tensor:
    """log E_q[w^α] / (α(α − 1)) in closed form, and its limits, for the unnormalised target."""
    mean, variance = flow.transform.mean, (2 * flow.transform.log_scale).exp()
    if alpha == 0.0:
        return 0.5 * (variance + mean.square() - 1.0 - variance.log()) - LOG_Z
    if alpha == 1.0:
        return 0.5 * ((1.0 + mean.square()) / variance - 1.0 + variance.log())
    between = alpha * variance + (1.0 - alpha)
    divergence = (
        0.5 * variance.log() + (variance / between).log() / (2 * (alpha - 1.0)) + alpha * mean.square() / (2 * between)
    )
    return divergence / alpha + LOG_Z / (alpha - 1.0)


def estimates(objective, flow: Flow, batches: int, of=lambda function: function) -> Tensor:
    """What `of` makes of the objective as a function of the flow's parameters, for batches that are independent, all
    at once: by itself its values (batches,)."""
    parameters = {name: p.detach().expand(batches, *p.shape) for name, p in flow.named_parameters()}
    module = nn.Module()
    module.flow, module.forward = flow, lambda: objective(flow)

    def value(own: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(module, {f"flow.{name}": p for name, p in own.items()}, ())

    return torch.func.vmap(of(value), randomness="different")(parameters)


def gradients(objective, flow: Flow, batches: int) -> Tensor:
    """(batches, 2) gradients of independent estimates with respect to mean and log-scale."""
    found = estimates(objective, flow, batches, of=torch.func.grad)
    return torch.stack([found["transform.mean"], found["transform.log_scale"]], 1)


def z_scores(samples: Tensor, expected: Tensor) -> Tensor:
    return (samples.mean(0) - expected) / (samples.std(0) / len(samples) ** 0.5)


def compare_plain_and_doubly(objective, batches: int, noise: float) -> None:
    """Both gradients have one mean, which is not zero; the variance of the second is less than `noise` times that of
    the first."""
    flow = gaussian_flow()
    found = []
    for dreg in (False, True):
        random = torch.Generator().manual_seed(3 + dreg)
        found.append(gradients(lambda f, random=random, dreg=dreg: objective(f, random, dreg), flow, batches))
    plain, doubly = found
    error = ((plain.var(0) + doubly.var(0)) / batches).sqrt()
    assert ((plain.mean(0) - doubly.mean(0)).abs() < 4.5 * error).all()
    assert (doubly.mean(0).abs() > 4.5 * error).any()
    assert doubly.var(0).sum() < noise * plain.var(0).sum()


# -- values and gradients ---------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", ALPHAS)
def test_alpha_divergence_has_the_exact_value(alpha: float) -> None:
    """z-score of 400 batches of 2000 samples: the bias of the logarithm is then below the statistical error."""
    flow, random = gaussian_flow(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        values = estimates(
            lambda f: objectives.alpha_divergence(f, Normal(), 2000, alpha, generator=random, dreg=False).value,
            flow,
            400,
        )
        assert z_scores(values, renyi_over_alpha(flow, alpha)).abs() < 4.5


@pytest.mark.parametrize("dreg", [False, True])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_alpha_divergence_has_the_exact_gradient(alpha: float, dreg: bool) -> None:
    """z-scores of 400 batches of 2000 samples."""
    flow, random = gaussian_flow(), torch.Generator().manual_seed(2)
    parameters = [flow.transform.mean, flow.transform.log_scale]
    expected = torch.stack(torch.autograd.grad(renyi_over_alpha(flow, alpha), parameters))
    found = gradients(
        lambda f: objectives.alpha_divergence(f, Normal(), 2000, alpha, generator=random, dreg=dreg).value, flow, 400
    )
    assert (z_scores(found, expected).abs() < 4.5).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_doubly_reparametrised_gradient_has_the_plain_mean_and_less_noise(alpha: float) -> None:
    """Six samples a batch, so that every term of order 1/n is seen; z-scores of 1500 batches."""

    def objective(flow: Flow, random: torch.Generator, dreg: bool) -> Tensor:
        return objectives.alpha_divergence(flow, Normal(), 6, alpha, generator=random, dreg=dreg).value

    compare_plain_and_doubly(objective, batches=1500, noise=0.8)


def test_alpha_divergence_is_continuous_in_alpha() -> None:
    """The two special cases are the limits of the general one, on the same samples, up to log Z and its estimate."""
    flow = gaussian_flow()

    def at(alpha: float) -> Tensor:
        random = torch.Generator().manual_seed(5)
        loss = objectives.alpha_divergence(flow, Normal(), 1000, alpha, generator=random, dreg=False)
        log_mean = torch.logsumexp(loss.log_weights, 0) - math.log(1000)
        # What is left of log Z/(α − 1) at α = 1; the limit at α = 0 keeps its −log Z.
        return loss.value - (log_mean / (alpha - 1.0) if abs(alpha - 1.0) < 0.1 and alpha != 1.0 else 0.0)

    for limit in (0.0, 1.0):
        assert at(limit + 1e-4).item() == pytest.approx(at(limit).item(), abs=1e-3)
        assert at(limit - 1e-4).item() == pytest.approx(at(limit).item(), abs=1e-3)


def test_importance_weighted_bound_tightens_to_log_z() -> None:
    flow, random = gaussian_flow(), torch.Generator().manual_seed(6)
    with torch.no_grad():
        bounds = [
            objectives.importance_weighted_bound(flow, Normal(), 20_000, k, generator=random, dreg=False).value.item()
            for k in (1, 4, 64)
        ]
    assert bounds[0] > bounds[1] > bounds[2] > -LOG_Z - 0.01
    assert bounds[0] == pytest.approx(renyi_over_alpha(flow, 0.0).item(), abs=0.02)
    assert bounds[2] == pytest.approx(-LOG_Z, abs=0.01)


def test_importance_weighted_gradients_agree_and_dreg_is_less_noisy() -> None:
    """z-scores of 1500 batches of 4 groups of 8."""

    def objective(flow: Flow, random: torch.Generator, dreg: bool) -> Tensor:
        return objectives.importance_weighted_bound(flow, Normal(), 4, 8, generator=random, dreg=dreg).value

    compare_plain_and_doubly(objective, batches=1500, noise=0.5)


def test_one_particle_is_reverse_kl() -> None:
    flow = gaussian_flow()
    bound, kl = (
        f(flow, Normal(), 100, *k, generator=torch.Generator().manual_seed(8)).value.item()
        for f, k in ((objectives.importance_weighted_bound, (1,)), (objectives.reverse_kl, ()))
    )
    assert bound == pytest.approx(kl, abs=1e-12)


def test_a_group_shares_its_context() -> None:
    """With the context as the target's mean, groups at different contexts have different bounds."""
    flow, context = gaussian_flow(), torch.tensor([[0.4], [9.0]], dtype=torch.float64)
    loss = objectives.importance_weighted_bound(
        flow, Normal(), 2, 50, context=context, generator=torch.Generator().manual_seed(9)
    )
    near, far = loss.log_weights.view(2, 50)
    assert near.min() > far.max()


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("path_gradient", [False, True])
def test_reverse_kl_has_the_exact_gradient(beta: float, path_gradient: bool) -> None:
    """z-scores of 400 batches of 500 samples."""
    flow, random = gaussian_flow(), torch.Generator().manual_seed(10)
    mean, log_scale = flow.transform.mean, flow.transform.log_scale
    exact = 0.5 * beta * ((2 * log_scale).exp() + mean.square()) - log_scale
    expected = torch.stack(torch.autograd.grad(exact, [mean, log_scale], materialize_grads=True))
    found = gradients(
        lambda f: (
            objectives.reverse_kl(f, Normal(), 500, generator=random, beta=beta, path_gradient=path_gradient).value
        ),
        flow,
        400,
    )
    assert torch.allclose(found.mean(0), expected, atol=1e-12) or (z_scores(found, expected).abs() < 4.5).all()


@pytest.mark.parametrize("path_gradient", [False, True])
def test_forward_kl_has_the_exact_gradient(path_gradient: bool) -> None:
    """z-scores of 400 batches of 500 samples of the target; importance weights from a wider one leave them exact."""
    flow = gaussian_flow()
    mean, log_scale = flow.transform.mean, flow.transform.log_scale
    exact = 0.5 * (1.0 + mean.square()) * (-2 * log_scale).exp() + log_scale
    expected = torch.stack(torch.autograd.grad(exact, [mean, log_scale]))
    for width in (1.0, 1.5):

        def value(f: Flow, width: float = width) -> Tensor:
            x = width * torch.randn(500, 1, dtype=torch.float64)
            log_weights = -0.5 * x.square() + 0.5 * (x / width).square()
            terms = objectives.forward_kl(f, x, target=Normal(), path_gradient=path_gradient).log_weights
            assert terms.shape == (500,)
            given = {} if width == 1.0 else {"weights": log_weights[:, 0].exp()}
            return objectives.forward_kl(f, x, target=Normal(), path_gradient=path_gradient, **given).value

        with torch.random.fork_rng():
            torch.manual_seed(15)
            found = torch.stack(
                [torch.stack(torch.autograd.grad(value(flow), list(flow.parameters()))) for _ in range(400)]
            )
        bias = 0.0 if width == 1.0 else 0.01  # a ratio of means of 500
        assert ((found.mean(0) - expected).abs() < 4.5 * found.std(0) / 20.0 + bias * expected.abs()).all()


def test_the_path_gradient_of_forward_kl_is_less_noisy_near_the_target() -> None:
    flow = gaussian_flow()
    with torch.no_grad():
        flow.transform.mean.fill_(0.02)
        flow.transform.log_scale.fill_(0.02)
    x = torch.randn(400, 50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(16))
    noise = []
    for path in (False, True):
        values = [objectives.forward_kl(flow, part, target=Normal(), path_gradient=path).value for part in x]
        grads = [torch.stack(torch.autograd.grad(value, list(flow.parameters()))) for value in values]
        noise.append(torch.stack(grads).var(0).sum())
    assert noise[1] < 0.01 * noise[0]


def test_forward_kl_leaves_out_its_largest_terms_and_what_lies_outside() -> None:
    flow = recipes.spline_flow(Domain.interval(0.0, 1.0, 2), layers=2, hidden=(8,))
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(17))

    class Rising:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return x[:, 0]

    for path in (False, True):
        x[3, 1] = 1.5
        loss = objectives.forward_kl(flow, x, target=Rising(), path_gradient=path, drop_largest=0.1)
        inside = torch.cat([x[:3, 0], x[4:, 0]])
        # 36 of 40 are kept: the one outside and the three largest are not.
        assert loss.value.item() == pytest.approx(inside.sort().values[:36].mean().item(), abs=1e-5)
        assert loss.log_weights[3] == -math.inf
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss.value, list(flow.parameters())))
    for wrong in ({"path_gradient": True}, {"drop_largest": 0.1}):
        with pytest.raises(OptionError, match="expected a target for"):
            objectives.forward_kl(flow, x, **wrong)
    with pytest.raises(OptionError, match=r"drop_largest in \[0, 1\)"):
        objectives.forward_kl(flow, x, target=Rising(), drop_largest=1.0)


def test_no_sample_has_more_influence_than_its_limit() -> None:
    """A flow that is far too narrow: an outlier at 40 widths has 40 times the gradient of one at one width."""
    flow = gaussian_flow()
    with torch.no_grad():
        flow.transform.mean.fill_(0.0)
        flow.transform.log_scale.fill_(-2.0)
    x = torch.tensor([[0.2], [-0.2], [0.2], [-0.2], [8.0]], dtype=torch.float64)
    found = {}
    for limit in (math.inf, 3.0, 1.0):
        loss = objectives.forward_kl(flow, x, target=Normal(), path_gradient=True, gradient_limit=limit)
        found[limit] = torch.autograd.grad(loss.value, flow.transform.mean)[0].item()
    # The gradient at x with respect to the mean is that of the single outlier; the others cancel in pairs.
    one = abs(0.2 * (math.exp(4.0) - 1.0)) / 5
    assert found[math.inf] == pytest.approx(-one * 40)
    assert found[3.0] == pytest.approx(-one * 3)
    assert found[1.0] == pytest.approx(-one)
    with pytest.raises(OptionError, match="expected a positive gradient_limit; got 0"):
        objectives.forward_kl(flow, x, target=Normal(), path_gradient=True, gradient_limit=0.0)


def test_a_path_gradient_of_forward_kl_needs_a_flow() -> None:
    with pytest.raises(OptionError, match="expected a Flow"):
        objectives.forward_kl(torch.nn.Linear(1, 1), torch.zeros(2, 1), target=Normal(), path_gradient=True)


def test_reverse_kl_keeps_the_weights_of_the_target_itself() -> None:
    flow = gaussian_flow()
    cold, hot = (
        objectives.reverse_kl(flow, Normal(), 9, beta=beta, generator=torch.Generator().manual_seed(0))
        for beta in (1.0, 0.1)
    )
    assert torch.equal(cold.log_weights, hot.log_weights)
    assert cold.value != hot.value
    with pytest.raises(OptionError, match="a non-negative beta; got -1"):
        objectives.reverse_kl(flow, Normal(), 9, beta=-1.0)
    with pytest.raises(OptionError, match=r"drop_largest in \[0, 1\); got 1"):
        objectives.reverse_kl(flow, Normal(), 9, drop_largest=1.0)


def test_runs_of_reverse_kl_are_weighed_each_by_itself() -> None:
    """Two densities, the second one's log Z larger by 50: ranks and weights must not see it."""

    class Raised(Normal):
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return super().log_prob(x) + context[:, 0]

    flow, context = gaussian_flow(), torch.tensor([0.0, 50.0]).double().repeat_interleave(500)[:, None]

    def loss(context: Tensor, runs: int) -> objectives.Loss:
        random = torch.Generator().manual_seed(12)
        return objectives.reverse_kl(
            flow, Raised(), 1000, context=context, generator=random, drop_largest=0.02, runs=runs
        )

    apart, level = loss(context, 2), loss(torch.zeros_like(context), 2)
    torch.testing.assert_close(apart.log_weights, level.log_weights)
    torch.testing.assert_close(apart.log_weights.view(2, -1).exp().mean(1), torch.ones(2).double())
    # The same samples are left out, some of each run; so the values differ by 50 times the second run's share.
    assert (level.value - apart.value).item() == pytest.approx(25.0, abs=0.3)
    together = loss(context, 1)  # only of the first run
    assert (level.value - together.value).item() == pytest.approx(50.0 * 500 / 980, abs=0.1)
    with pytest.raises(OptionError, match="a number of runs that divides the 9 samples; got 2"):
        objectives.reverse_kl(flow, Normal(), 9, runs=2)


def test_a_run_without_a_weight_keeps_the_others() -> None:
    flow = gaussian_flow()
    loss = objectives.reverse_kl(flow, Normal(cut=0.0), 40, generator=torch.Generator().manual_seed(3), runs=20)
    rows = loss.log_weights.view(20, 2)
    alive = (rows > -torch.inf).any(1)
    assert 0 < alive.sum() < 20
    torch.testing.assert_close(rows[alive].exp().mean(1), torch.ones(int(alive.sum())).double())


def test_log_variance_has_the_gradient_of_reverse_kl() -> None:
    """On the flow's own samples; z-scores of 400 batches of 500 samples."""
    flow, random = gaussian_flow(), torch.Generator().manual_seed(11)
    parameters = [flow.transform.mean, flow.transform.log_scale]
    expected = torch.stack(torch.autograd.grad(renyi_over_alpha(flow, 0.0), parameters))
    found = gradients(lambda f: objectives.log_dispersion(f, Normal(), 500, generator=random).value, flow, 400)
    assert (z_scores(found, expected).abs() < 4.5).all()


def test_log_dispersion_of_given_samples() -> None:
    flow = gaussian_flow()
    x = torch.linspace(-2.0, 3.0, 51, dtype=torch.float64)[:, None]
    log_weights = Normal().log_prob(x) - flow.log_prob(x)
    loss = objectives.log_dispersion(flow, Normal(), x)
    assert loss.value.item() == pytest.approx(0.5 * log_weights.var().item())
    assert torch.equal(loss.log_weights, log_weights)
    mean_distance = (log_weights - log_weights.median()).abs().mean().item()
    assert objectives.log_dispersion(flow, Normal(), x, order=1).value.item() == pytest.approx(mean_distance)
    with torch.no_grad():
        flow.transform.mean.zero_()
        flow.transform.log_scale.zero_()
    for order in (1, 2):
        assert objectives.log_dispersion(flow, Normal(), x, order=order).value.item() == pytest.approx(0.0, abs=1e-12)


def test_log_dispersion_leaves_out_what_is_not_finite() -> None:
    flow = gaussian_flow()
    x = torch.linspace(-2.0, 3.0, 51, dtype=torch.float64)[:, None]
    for order in (1, 2):
        broken = objectives.log_dispersion(flow, Normal(cut=1.0), x, order=order).value
        kept = objectives.log_dispersion(flow, Normal(), x[x[:, 0] <= 1.0], order=order).value
        assert broken.item() == pytest.approx(kept.item())
        assert all(g.isfinite() for g in torch.autograd.grad(broken, list(flow.parameters())))
    with pytest.raises(OptionError, match="order 1 or 2; got 3"):
        objectives.log_dispersion(flow, Normal(), x, order=3)
    with pytest.raises(OptionError, match="at least 2 samples; got 1"):
        objectives.log_dispersion(flow, Normal(), 1)


# -- promises of all --------------------------------------------------------------------------------

POINTS = torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(18))
FORWARD = {
    "forward KL": lambda flow, target: objectives.forward_kl(flow, POINTS.to(flow.like), target=target),
    "forward KL, path": lambda flow, target: objectives.forward_kl(
        flow, POINTS.to(flow.like).expand(-1, len(flow.domain)), target=target, path_gradient=True
    ),
}
REVERSE = {
    "reverse KL": lambda flow, target: objectives.reverse_kl(flow, target, 200),
    "reverse KL, path": lambda flow, target: objectives.reverse_kl(flow, target, 200, path_gradient=True),
    "alpha": lambda flow, target: objectives.alpha_divergence(flow, target, 200, 2.0, dreg=False),
    "alpha, dreg": lambda flow, target: objectives.alpha_divergence(flow, target, 200, 2.0),
    "alpha 1, dreg": lambda flow, target: objectives.alpha_divergence(flow, target, 200, 1.0),
    "alpha 0, dreg": lambda flow, target: objectives.alpha_divergence(flow, target, 200, 0.0),
    "alpha -1, dreg": lambda flow, target: objectives.alpha_divergence(flow, target, 200, -1.0),
    "bound": lambda flow, target: objectives.importance_weighted_bound(flow, target, 200, 1, dreg=False),
    "bound, dreg": lambda flow, target: objectives.importance_weighted_bound(flow, target, 50, 4),
    "log-dispersion": lambda flow, target: objectives.log_dispersion(flow, target, 200),
}
EVERY = REVERSE | FORWARD


@pytest.mark.parametrize("name", EVERY)
def test_no_side_effects(name: str) -> None:
    """Parameters that the user froze stay frozen, no others become so, and no number changes."""
    flow = gaussian_flow()
    flow.transform.mean.requires_grad_(False)
    before = {k: v.clone() for k, v in flow.state_dict().items()}
    EVERY[name](flow, Normal()).value.backward()
    assert not flow.transform.mean.requires_grad
    assert flow.transform.mean.grad is None
    assert flow.transform.log_scale.requires_grad
    assert flow.transform.log_scale.grad != 0.0
    assert all(torch.equal(v, before[k]) for k, v in flow.state_dict().items())


@pytest.mark.parametrize("name", EVERY)
def test_samples_that_cannot_be_evaluated_have_weight_zero(name: str) -> None:
    flow = gaussian_flow()
    loss = EVERY[name](flow, Normal(cut=0.0))
    assert 0 < torch.isinf(loss.log_weights).sum() < 200
    assert not loss.log_weights.isnan().any()
    assert loss.value.isfinite()
    assert all(g.isfinite() for g in torch.autograd.grad(loss.value, list(flow.parameters())))


class Clash:
    """An energy that overflows below `reach`: where it is infinite, its gradient is NaN times 0."""

    def __init__(self, reach: float) -> None:
        self.reach = reach

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -0.5 * x[:, 0].square() - (self.reach / x[:, 0].abs()).pow(400)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "log-dispersion"])
def test_a_clash_does_not_spoil_the_gradients_of_other_samples(name: str) -> None:
    torch.manual_seed(0)
    flow = gaussian_flow()
    loss = EVERY[name](flow, Clash(0.2))
    assert torch.isinf(loss.log_weights).any()
    gradients = torch.autograd.grad(loss.value, list(flow.parameters()))
    assert all(g.isfinite() for g in gradients)


def test_a_target_whose_gradient_is_never_finite_is_not_hidden() -> None:
    flow = gaussian_flow()
    loss = objectives.reverse_kl(flow, Clash(1e9), 50)
    assert loss.value.isnan()

    class NoGradient:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return -(0.0 * x[:, 0]).sqrt()

    value = objectives.reverse_kl(flow, NoGradient(), 50).value
    assert all(g.isnan() for g in torch.autograd.grad(value, list(flow.parameters())))


@pytest.mark.parametrize("name", [name for name in EVERY if "path" in name or "dreg" in name])
def test_path_gradient_vanishes_where_q_is_p(name: str) -> None:
    """Sticking the landing: with q = p not only the mean, but each sample's gradient is zero."""
    flow = gaussian_flow()

    class Itself:
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return path_log_prob(flow, x, context, "here")

    largest = max(g.abs() for g in torch.autograd.grad(EVERY[name](flow, Itself()).value, list(flow.parameters())))
    assert largest < 1e-10
    plain = objectives.reverse_kl(flow, Itself(), 200).value
    assert max(g.abs() for g in torch.autograd.grad(plain, list(flow.parameters()))) > 1e-3


@pytest.mark.parametrize("name", [name for name in EVERY if "path" in name or "dreg" in name])
def test_path_gradients_refuse_stochastic_layers(name: str) -> None:
    noisy = Flow(Independent(Domain.real(1)), Noise(Domain.real(1), Domain.real(1)))
    with pytest.raises(OptionError, match="expected no stochastic layer for a path gradient"):
        EVERY[name](noisy, Normal())


@pytest.mark.parametrize("name", ["reverse KL, path", "forward KL, path", "alpha, dreg", "bound, dreg"])
def test_path_gradients_refuse_dropout(name: str) -> None:
    """A second pass would drop other units: its density is not that of the samples."""
    flow = recipes.realnvp(Domain.real(2), layers=2, hidden=(8,))
    flow.transform.layers[0].trunk.steps.append(nn.Dropout(0.5))
    with pytest.raises(OptionError, match="expected no dropout in training"):
        EVERY[name](flow, Independent(Domain.real(2)))
    EVERY[name](flow.eval(), Independent(Domain.real(2)))


def test_importance_weighted_bound_needs_a_particle() -> None:
    with pytest.raises(OptionError, match="at least 1 particle; got 0"):
        objectives.importance_weighted_bound(gaussian_flow(), Normal(), 2, 0)


# -- the rest ---------------------------------------------------------------------------------------


def test_reverse_kl_drops_the_largest_terms() -> None:
    """As many as asked for are left out of the mean, and no weight changes."""
    flow = gaussian_flow()
    whole, trimmed = (
        objectives.reverse_kl(flow, Normal(), 200, drop_largest=share, generator=torch.Generator().manual_seed(12))
        for share in (0.0, 0.1)
    )
    assert torch.equal(whole.log_weights, trimmed.log_weights)
    expected = (-whole.log_weights).sort().values[:180].mean().item()
    assert trimmed.value.item() == pytest.approx(expected)


def test_energy_cap_keeps_a_slope() -> None:
    energy = torch.tensor([-5.0, 9.0, 10.0, 1e4], requires_grad=True, dtype=torch.float64)
    capped = objectives.EnergyCap(10.0)(energy)
    assert capped.tolist() == pytest.approx([-5.0, 9.0, 10.0, 10.0 + math.log1p(1e4 - 10.0)])
    (slope,) = torch.autograd.grad(capped.sum(), energy)
    assert slope.tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0 / (1e4 - 9.0)])
    flow = gaussian_flow()
    tamed, wild = (
        objectives.reverse_kl(flow, Normal(), 50, cap=cap, generator=torch.Generator().manual_seed(13))
        for cap in (objectives.EnergyCap(0.5), None)
    )
    assert tamed.value < wild.value
    assert torch.equal(tamed.log_weights, wild.log_weights)


def test_forward_kl_is_weighted_maximum_likelihood() -> None:
    flow = gaussian_flow()
    random = torch.Generator().manual_seed(14)
    x = torch.randn(10, 1, dtype=torch.float64, generator=random)
    weights = torch.rand(10, dtype=torch.float64, generator=random)
    weights[3] = 0.0
    expected = -(weights * flow.log_prob(x)).sum() / weights.sum()
    assert objectives.forward_kl(flow, x, weights=weights).value.item() == pytest.approx(expected.item())
    assert objectives.forward_kl(flow, x).value.item() == pytest.approx(-flow.log_prob(x).mean().item())
    with pytest.raises(ShapeError, match="weights of shape"):
        objectives.forward_kl(flow, x, weights=weights[:5])
    with pytest.raises(OptionError, match="non-negative"):
        objectives.forward_kl(flow, x, weights=-weights)


def test_bits_per_dimension_bound_the_entropy_of_the_grey_values() -> None:
    """A density that is constant in each cell and right codes at the entropy; any other needs more."""
    probability = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    entropy = 1.75
    log_density = (probability * 4).log()  # on [0, 1], four cells
    bits = objectives.bits_per_dimension(log_density, 1, levels=4)
    assert (probability * bits).sum().item() == pytest.approx(entropy)
    flat = objectives.bits_per_dimension(torch.zeros(3), 64, levels=17)
    assert flat.tolist() == pytest.approx([math.log2(17)] * 3)
    nats = torch.tensor([64 * math.log(2.0)])
    assert objectives.bits_per_dimension(nats, 64, levels=1).item() == pytest.approx(-1.0)
    with pytest.raises(OptionError, match="positive numbers; got 0 dimensions"):
        objectives.bits_per_dimension(nats, 0)
