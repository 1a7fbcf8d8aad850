"""The interface of training methods."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import mdtraj
import numpy as np
import torch
from torch import Tensor

from boltzflow.core.objectives import Loss
from boltzflow.ensemble import Ensemble
from boltzflow.errors import UnsupportedCombinationError
from boltzflow.simulation import Progress
from boltzflow.training.trainable import Trainable

Memory = dict[str, Tensor]
"""The state that a method keeps between steps, such as a buffer of samples. It is part of checkpoints.

A method replaces entries and never writes into their tensors: an interrupted step is repeated from the old ones.
"""


@dataclass(frozen=True)
class StepInfo:
    """The state of a training at the beginning of a step.

    Attributes:
        step: number of completed steps.
        steps: total number of steps.
        batch_size: number of samples in a step.
        random: the source of random numbers.
    """

    step: int
    steps: int
    batch_size: int
    random: torch.Generator

    @property
    def progress(self) -> float:
        """The completed fraction of the training, from 0 to 1."""
        return self.step / max(1, self.steps - 1)


class Method(ABC):
    """A training method: it defines samples, weights, objective and temperature of each step.

    Concrete methods are frozen dataclasses of numbers, strings and other methods, so that checkpoints can record them.

    Attributes:
        learns_ranges: whether it can train one flow for a temperature range.
        learns_paths: whether it can train flows with stochastic layers, which have no density in closed form.
    """

    learns_ranges: ClassVar[bool] = False
    learns_paths: ClassVar[bool] = False

    def check(self, model: Trainable) -> None:
        """Check, before training starts, that this method can train the model.

        Raises:
            UnsupportedCombinationError: if the model has a temperature range or stochastic layers, and the method does
                not support this.
        """
        if model.temperatures is not None and not self.learns_ranges:
            low, high = model.temperatures
            raise UnsupportedCombinationError(
                f"{type(self).__name__}: expected a model of one temperature; got one of {low:g} to {high:g} K (use "
                "ReverseKL, AlphaDivergence or LogDispersion)."
            )
        if model.flow.transform.stochastic_layers and not self.learns_paths:
            raise UnsupportedCombinationError(
                f"{type(self).__name__}: expected a flow with a closed-form density; got one with stochastic layers "
                "(use ReverseKL)."
            )

    def prepare(
        self,
        model: Trainable,
        info: StepInfo,
        memory: Memory,
        directory: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any]:
        """Work that precedes the first step of a training, such as a simulation; fills the memory.

        Args:
            model: the model to be trained.
            info: the state of the training before its first step.
            memory: to be filled.
            directory: where to keep the work, from which it continues if it was interrupted; None keeps nothing.
            progress: called repeatedly.

        Returns:
            Facts for the model's `provenance`; JSON-serialisable.
        """
        return {}

    def shortened(self) -> Self:
        """The same method with the shortest preparation, to estimate its cost."""
        return self

    def preparation(self, steps: int, batch_size: int) -> int:
        """The number of energy evaluations of `prepare`; part of `evaluations`."""
        return 0

    @abstractmethod
    def temperature(self, model: Trainable, info: StepInfo) -> float:
        """The temperature of this step in K; for a temperature range the lowest one."""

    @abstractmethod
    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        """The loss of this step.

        Its log-weights are those of samples of the flow at this step's temperature: of this step's batch, or of the
        latest samples.
        """

    @abstractmethod
    def evaluations(self, steps: int, batch_size: int) -> int:
        """The number of energy evaluations of a training with this number of steps."""


def settings_of(method: Method) -> dict[str, Any]:
    """The name and settings of a method, including those of methods within it."""
    values = {f.name: getattr(method, f.name) for f in fields(method)} if is_dataclass(method) else vars(method)
    return {"name": type(method).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Method):
        return settings_of(value)
    if isinstance(value, Ensemble | mdtraj.Trajectory):
        return _fingerprint(value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _fingerprint(data: Ensemble | mdtraj.Trajectory) -> str:
    """Identifies data in memory: a digest of the positions, and of the weights if there are any."""
    arrays = [data.xyz] if isinstance(data, mdtraj.Trajectory) else [data.positions, data.log_weights]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{len(data)} frames, sha256 {digest.hexdigest()}"
