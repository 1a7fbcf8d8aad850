"""What every method of training offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from boltzflow.core.objectives import Loss
from boltzflow.errors import UnsupportedCombinationError
from boltzflow.training.trainable import Trainable

Memory = dict[str, Tensor]
"""What a method keeps from step to step, such as a buffer of samples. It is part of checkpoints.

A method replaces entries and never writes into their tensors: a step that is interrupted is taken again from the old
ones.
"""


@dataclass(frozen=True)
class Moment:
    """Where a training stands.

    Attributes:
        step: steps done.
        steps: steps in all.
        batch_size: samples in a step.
        random: the source of randomness.
    """

    step: int
    steps: int
    batch_size: int
    random: torch.Generator

    @property
    def progress(self) -> float:
        """The share of the training that is done, from 0 to 1."""
        return self.step / max(1, self.steps - 1)


class Method(ABC):
    """Which samples, which weights, which objective next: one step gives a loss, and the temperature it is taken at.

    Concrete methods are frozen dataclasses of numbers, strings and other methods, so that a checkpoint knows them.

    Attributes:
        learns_ranges: whether it trains one flow for a range of temperatures.
        learns_paths: whether it trains flows with stochastic layers, which have no density in closed form.
    """

    learns_ranges: ClassVar[bool] = False
    learns_paths: ClassVar[bool] = False

    def check(self, model: Trainable) -> None:
        """Refuse, before a training begins, what this method cannot train.

        Raises:
            UnsupportedCombinationError: if the model is for a range of temperatures, or has stochastic layers, and the
                method is not made for it.
        """
        if model.temperatures is not None and not self.learns_ranges:
            low, high = model.temperatures
            raise UnsupportedCombinationError(
                f"{type(self).__name__}: expected a model of one temperature; got one of {low:g} to {high:g} K, which "
                "ReverseKL, AlphaDivergence and LogDispersion train."
            )
        if model.flow.transform.stochastic_layers and not self.learns_paths:
            raise UnsupportedCombinationError(
                f"{type(self).__name__}: expected a flow whose density is known; got one with stochastic layers, which "
                "ReverseKL trains."
            )

    @abstractmethod
    def temperature(self, model: Trainable, moment: Moment) -> float:
        """The temperature of this step, in K; for a range of temperatures the lowest one."""

    @abstractmethod
    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        """The loss of this step.

        Its log-weights are those of samples of the flow, with respect to this step's temperature: of this step's own
        batch, or of the last ones that were drawn.
        """

    @abstractmethod
    def evaluations(self, steps: int, batch_size: int) -> int:
        """The number of energy evaluations that a training of so many steps takes."""


def settings_of(method: Method) -> dict[str, Any]:
    """A method's name and settings, methods within it likewise."""
    values = {f.name: getattr(method, f.name) for f in fields(method)} if is_dataclass(method) else vars(method)
    return {"name": type(method).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Method):
        return settings_of(value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
