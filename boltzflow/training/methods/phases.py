"""Combinations of methods: in sequence, and as a weighted sum."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from boltzflow.core.objectives import Loss
from boltzflow.errors import OptionError
from boltzflow.simulation import Progress
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class _Composed(Method, ABC):
    """A method composed of others; it can train a model if all of them can."""

    methods: tuple[Method, ...]

    def check(self, model: Trainable) -> None:
        for method in self.methods:
            method.check(model)

    def prepare(
        self,
        model: Trainable,
        info: StepInfo,
        memory: Memory,
        directory: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for i, method in enumerate(self.methods):
            own: Memory = {}
            folder = None if directory is None else directory / str(i)
            facts |= method.prepare(model, replace(info, steps=self._steps(i, info.steps)), own, folder, progress)
            _replace(memory, i, own)
        return facts

    def shortened(self) -> Self:
        return replace(self, methods=tuple(method.shortened() for method in self.methods))

    def preparation(self, steps: int, batch_size: int) -> int:
        return sum(m.preparation(self._steps(i, steps), batch_size) for i, m in enumerate(self.methods))

    def _steps(self, i: int, steps: int) -> int:
        """The number of steps of the method with this number."""
        return steps


@dataclass(frozen=True)
class Phases(_Composed):
    """Methods in sequence. Each gets a fraction of the steps, over which its own schedule runs.

    Attributes:
        methods: at least one.
        shares: fractions of the steps, one for each method; their sum is 1.
    """

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.methods) != len(self.shares) or not self.methods or min(self.shares) <= 0.0:
            raise OptionError(
                f"Expected a positive fraction for each method; got {len(self.methods)} methods and {self.shares}."
            )
        if abs(sum(self.shares) - 1.0) > 1e-6:
            raise OptionError(f"Expected fractions of steps with the sum 1; got {self.shares}.")

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        phase, part = self._part(info)
        return self.methods[phase].temperature(model, part)

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        phase, part = self._part(info)
        for before in range(phase):
            _replace(memory, before, {})
        own = _of(memory, phase)
        loss = self.methods[phase].loss(model, part, own)
        _replace(memory, phase, own)
        return loss

    def evaluations(self, steps: int, batch_size: int) -> int:
        shares = [(method, self._steps(i, steps)) for i, method in enumerate(self.methods)]
        return sum(method.evaluations(share, batch_size) for method, share in shares if share)

    def _steps(self, i: int, steps: int) -> int:
        ends = [0, *self._ends(steps)]
        return ends[i + 1] - ends[i]

    def _ends(self, steps: int) -> list[int]:
        """The first step after each phase."""
        return [round(steps * sum(self.shares[: i + 1])) for i in range(len(self.shares) - 1)] + [steps]

    def _part(self, info: StepInfo) -> tuple[int, StepInfo]:
        """The index of the current method, and its own state."""
        ends = self._ends(info.steps)
        phase = next((i for i, end in enumerate(ends) if info.step < end), len(ends) - 1)
        start = ends[phase - 1] if phase else 0
        return phase, StepInfo(info.step - start, ends[phase] - start, info.batch_size, info.random)


@dataclass(frozen=True)
class Mixture(_Composed):
    """The weighted sum of the losses of several methods, with weights that change linearly during training.

    Each method draws its own samples. Temperature and log-weights are those of the first method.

    Attributes:
        methods: at least one.
        start: weight of each method's loss in the first step.
        end: weights in the last step; those of the first step if empty.
    """

    start: tuple[float, ...]
    end: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.methods) == len(self.start) == len(self.end or self.start) or not self.methods:
            raise OptionError(f"Expected one weight for each of {len(self.methods)} methods; got {self.start}.")
        if any(not any(weights) for weights in (self.start, self.end or self.start)):
            raise OptionError(
                f"Expected at least one nonzero weight at start and end; got {self.start} and {self.end}."
            )

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return self.methods[0].temperature(model, info)

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        values, first = [], None
        for i, method in enumerate(self.methods):
            weight = self.start[i] + info.progress * ((self.end or self.start)[i] - self.start[i])
            own = _of(memory, i)
            if weight == 0.0 and first is not None:
                continue
            loss = method.loss(model, info, own)
            _replace(memory, i, own)
            if weight != 0.0:  # zero times a non-finite loss would not be zero
                values.append(weight * loss.value)
            first = first or loss
        assert first is not None  # there is at least one method
        return Loss(torch.stack(values).sum(), first.log_weights, first.is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return sum(method.evaluations(steps, batch_size) for method in self.methods)


def _of(memory: Memory, i: int) -> Memory:
    """The memory of the method with this number."""
    return {name.removeprefix(f"{i}."): value for name, value in memory.items() if name.startswith(f"{i}.")}


def _replace(memory: Memory, i: int, own: Memory) -> None:
    for name in [name for name in memory if name.startswith(f"{i}.")]:
        del memory[name]
    memory.update({f"{i}.{name}": value for name, value in own.items()})
