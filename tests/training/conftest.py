from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

import boltzflow as bf
from boltzflow.core import recipes
from boltzflow.core.distributions import targets
from boltzflow.training import DensityModel
from tests.analysis.exact import chain


def double_well() -> DensityModel:
    """A small flow for a density of two coordinates: steps of it take milliseconds."""
    target = targets.DoubleWell()
    return DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(16,), bound=8.0), target)


@pytest.fixture
def small() -> bf.BoltzmannGenerator:
    """A generator of the chain that starts with a uniform torsion."""
    return bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(32,), bins=6, start="plain")


@contextmanager
def interrupted_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this block a training is stopped, as by Ctrl-C, in its step of that number; it must come to that."""
    backward, calls = torch.Tensor.backward, []

    def interrupted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return backward(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            yield
