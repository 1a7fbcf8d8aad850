"""Methods on samples of the flow, along a falling temperature."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

from boltzflow.training.methods.method import Method, Moment
from boltzflow.training.schedules import Annealing
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class CooledMethod(Method, ABC):
    """A method whose temperature falls: the hot start finds the basins, the slow fall keeps them.

    Attributes:
        hot_temperature: where it starts, in K; the end is the model's temperature.
        hot_share, cooling_share: shares of the steps at the hot temperature, and while it falls.
    """

    hot_temperature: float = 1200.0
    hot_share: float = 0.3
    cooling_share: float = 0.4

    def temperature(self, model: Trainable, moment: Moment) -> float:
        target = model.temperature
        schedule = Annealing(max(self.hot_temperature, target), target, self.hot_share, self.cooling_share)
        return schedule(moment.progress)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return steps * batch_size
