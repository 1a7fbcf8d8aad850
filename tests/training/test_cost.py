"""What a training is said to cost before it starts."""

from __future__ import annotations

import pytest
import torch

import boltzflow as bf
from boltzflow.core import recipes
from boltzflow.core.distributions import targets
from boltzflow.training import (
    FAB,
    AlphaDivergence,
    ConstrainedTransport,
    DensityModel,
    LogDispersion,
    Method,
    Mixture,
    Phases,
    ReverseKL,
    TemperatureAnnealing,
    TrainingOptions,
)
from boltzflow.training.cost import estimate_cost

METHODS: list[Method] = [
    ReverseKL(),
    AlphaDivergence(),
    LogDispersion(),
    FAB(every=3, levels=2, leapfrog_steps=2, first_batches=2),
    TemperatureAnnealing(rungs=3, samples=70),
    ConstrainedTransport(samples=70, every=4),
    Phases((ReverseKL(), ConstrainedTransport(samples=70, every=4)), (0.7, 0.3)),
    Mixture((ReverseKL(), ConstrainedTransport(samples=70, every=4)), (1.0, 0.5)),
]


def model() -> DensityModel:
    target = targets.DoubleWell()
    return DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(8,)), target)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("steps", [10, 13])
def test_the_number_of_evaluations_is_that_of_the_training(method: Method, steps: int) -> None:
    expected = estimate_cost(model(), method, TrainingOptions(steps=steps, batch_size=32)).evaluations
    history = bf.train(model(), method, steps=steps, batch_size=32, compile=False, progress=False)
    assert history.last.energy_evaluations == expected


def test_an_estimate_leaves_the_model_as_it_is() -> None:
    learner = model()
    before = {name: value.clone() for name, value in learner.flow.state_dict().items()}
    cost = estimate_cost(learner, ReverseKL(), TrainingOptions(steps=1000, batch_size=64))
    assert all(torch.equal(before[name], value) for name, value in learner.flow.state_dict().items())
    assert all(p.grad is None for p in learner.flow.parameters())
    assert cost.evaluations == 64_000
    assert 0.1 < cost.seconds < 1000
    assert 0.1 < cost.memory_gib < 100
    assert "6.4e+04 energy evaluations" in str(cost)
