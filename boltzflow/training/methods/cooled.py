"""Methods that use samples of the flow and a falling temperature."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from boltzflow.training.methods.method import Method, StepInfo
from boltzflow.training.schedules import Annealing
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class CooledMethod(Method, ABC):
    """A method with a falling temperature: high temperatures find the basins, slow cooling keeps them.

    A flow for a temperature range starts at the top of its range instead of `hot_temperature`. The lowest temperature
    of a step then falls to the bottom of the range, and samples are distributed evenly in log T between this
    temperature and the top.

    Attributes:
        hot_temperature: initial temperature in K; the final one is the model's temperature.
        hot_share, cooling_share: fractions of the steps at the hot temperature, and while it falls.
    """

    hot_temperature: float = 1200.0
    hot_share: float = 0.3
    cooling_share: float = 0.4

    learns_ranges: ClassVar[bool] = True

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        if model.temperatures is None:
            end, start = model.temperature, max(self.hot_temperature, model.temperature)
        else:
            end, start = model.temperatures
        return Annealing(start, end, self.hot_share, self.cooling_share)(info.progress)

    def context(self, model: Trainable, info: StepInfo, runs: int = 1) -> Tensor | None:
        """The context of flow and target in this step, (batch, C) or None.

        For a temperature range the batch is divided into `runs` of equal length, each at one temperature: the range
        between this step's lowest temperature and the top is divided into as many equal parts in log T, and one
        temperature is drawn from each.
        """
        lowest = self.temperature(model, info)
        like = model.flow.like
        if model.temperatures is None:
            return model.context(like.new_full((info.batch_size,), lowest))
        noise = torch.rand(runs, dtype=like.dtype, device=like.device, generator=info.random)
        place = (torch.arange(runs, dtype=like.dtype, device=like.device) + noise) / runs
        kelvins = lowest * (model.temperatures[1] / lowest) ** place
        return model.context(kelvins.repeat_interleave(info.batch_size // runs))

    def evaluations(self, steps: int, batch_size: int) -> int:
        return steps * batch_size
