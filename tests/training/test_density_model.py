"""Methods of training on densities without a molecule."""

from __future__ import annotations

import math

import pytest
import torch

import boltzflow as bf
from boltzflow.core import Domain, recipes
from boltzflow.core.distributions import targets
from boltzflow.core.importance import effective_sample_size, log_mean_weight
from boltzflow.errors import DomainError, OptionError
from boltzflow.training import FAB, ConstrainedTransport, DensityModel, ForwardKL, Method, ReverseKL
from boltzflow.training.methods.drawing import draw


def model() -> DensityModel:
    target = targets.DoubleWell()
    return DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(32,), bound=8.0), target)


@pytest.mark.parametrize(
    "method", [ReverseKL(), FAB(every=4, levels=3, first_batches=4), ConstrainedTransport(samples=2000, every=40)]
)
def test_a_method_learns_both_wells_of_a_density(method: Method) -> None:
    """log Z within 4 standard errors of quadrature, ESS above 80 %, from 20 000 samples."""
    learner = model()
    options = {"batch_size": 256, "learning_rate": 1e-2, "warmup": 10}
    history = bf.train(learner, method, steps=200, compile=False, progress=False, **options)
    assert history.last.energy_evaluations == learner.evaluations > 0
    drawn = draw(learner, 20_000, 4096, torch.Generator().manual_seed(1))
    log_weights = drawn.log_weights(learner.temperature)
    assert effective_sample_size(log_weights) > 0.8
    value, error = log_mean_weight(log_weights)
    assert abs(value - targets.DoubleWell().log_z) < 4 * error < 0.1


def test_another_temperature_flattens_the_density() -> None:
    learner = model()
    z, _ = learner.flow.sample(7, generator=torch.Generator().manual_seed(0))
    hot, own = learner.internal_target(600.0).log_prob(z), learner.internal_target().log_prob(z)
    torch.testing.assert_close(hot, own / 2)
    drawn = draw(learner, 7, 7, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.log_target(600.0), hot)
    assert math.isclose(learner.evaluations, 21)


def test_what_does_not_fit_is_refused(tmp_path) -> None:
    flow = recipes.spline_flow(Domain.circle(2), layers=2, hidden=(8,))
    with pytest.raises(DomainError, match="expected a target on the flow's domain"):
        DensityModel(flow, targets.DoubleWell())
    with pytest.raises(OptionError, match="expected a BoltzmannGenerator"):
        bf.train(model(), ForwardKL(str(tmp_path)), steps=1, batch_size=8, compile=False, progress=False)
