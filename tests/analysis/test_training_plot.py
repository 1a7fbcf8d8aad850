"""Where another loss begins in a training's records."""

from __future__ import annotations

import numpy as np
import pytest

from boltzflow.analysis.report.plots.training import _other_losses


@pytest.mark.parametrize("at", [5, 40, 147, 195])
@pytest.mark.parametrize("scatter", [0.01, 0.5])
def test_a_jump_of_the_loss_begins_another_one(at: int, scatter: float) -> None:
    random = np.random.default_rng(0)
    losses = 300 + 40 * np.exp(-np.arange(200) / 20) + scatter * random.normal(size=200)
    assert len(_other_losses(losses)) == 0
    losses[at:] -= losses[-1] - scatter
    assert _other_losses(losses).tolist() == [at]


def test_a_single_wild_record_and_a_short_training_are_one_loss() -> None:
    losses = np.linspace(5.0, 1.0, 100) + 0.05 * np.random.default_rng(1).normal(size=100)
    losses[50] += 1e6
    assert len(_other_losses(losses)) == 0
    assert len(_other_losses(np.array([300.0, 0.1, 0.1]))) == 0


def test_two_jumps_are_two() -> None:
    losses = np.concatenate([np.full(30, level) for level in (300.0, 0.2, -50.0)])
    losses += 0.01 * np.random.default_rng(2).normal(size=90)
    assert _other_losses(losses).tolist() == [30, 60]
