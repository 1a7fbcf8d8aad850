"""Methods one after the other, and several at once."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import torch

from boltzflow.core.objectives import Loss
from boltzflow.errors import OptionError
from boltzflow.training.methods.method import Memory, Method, Moment
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class _Composed(Method, ABC):
    """A method made of others, which trains what all of them can train."""

    methods: tuple[Method, ...]

    def check(self, model: Trainable) -> None:
        for method in self.methods:
            method.check(model)


@dataclass(frozen=True)
class Phases(_Composed):
    """Methods one after the other, each with a share of the steps, to which its own course is fitted.

    Attributes:
        methods: at least one.
        shares: of the steps, one for each method; they add up to 1.
    """

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.methods) != len(self.shares) or not self.methods or min(self.shares) <= 0.0:
            raise OptionError(
                f"Expected a positive share for each method; got {len(self.methods)} methods and {self.shares}."
            )
        if abs(sum(self.shares) - 1.0) > 1e-6:
            raise OptionError(f"Expected shares that add up to 1; got {self.shares}.")

    def temperature(self, model: Trainable, moment: Moment) -> float:
        phase, part = self._part(moment)
        return self.methods[phase].temperature(model, part)

    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        phase, part = self._part(moment)
        if "phase" not in memory or int(memory["phase"]) != phase:
            memory.clear()
        own = {name.removeprefix("of."): value for name, value in memory.items() if name != "phase"}
        loss = self.methods[phase].loss(model, part, own)
        memory.clear()
        memory.update({f"of.{name}": value for name, value in own.items()}, phase=torch.tensor(phase))
        return loss

    def evaluations(self, steps: int, batch_size: int) -> int:
        ends = self._ends(steps)
        parts = zip(self.methods, (0, *ends[:-1]), ends, strict=True)
        return sum(method.evaluations(end - start, batch_size) for method, start, end in parts if end > start)

    def _ends(self, steps: int) -> list[int]:
        """The first step after each method's."""
        return [round(steps * sum(self.shares[: i + 1])) for i in range(len(self.shares) - 1)] + [steps]

    def _part(self, moment: Moment) -> tuple[int, Moment]:
        """Which method's turn it is, and where it stands in its own course."""
        ends = self._ends(moment.steps)
        phase = next((i for i, end in enumerate(ends) if moment.step < end), len(ends) - 1)
        start = ends[phase - 1] if phase else 0
        return phase, Moment(moment.step - start, ends[phase] - start, moment.batch_size, moment.random)


@dataclass(frozen=True)
class Mixture(_Composed):
    """The weighted sum of the losses of several methods, whose weights go linearly from start to end.

    Each method draws samples of its own. The temperature and the log-weights are those of the first.

    Attributes:
        methods: at least one.
        start: weight of each method's loss in the first step.
        end: in the last step; as in the first one if empty.
    """

    start: tuple[float, ...]
    end: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.methods) == len(self.start) == len(self.end or self.start) or not self.methods:
            raise OptionError(f"Expected one weight for each of {len(self.methods)} methods; got {self.start}.")
        if any(not any(weights) for weights in (self.start, self.end or self.start)):
            raise OptionError(f"Expected a weight that is not zero at either end; got {self.start} and {self.end}.")

    def temperature(self, model: Trainable, moment: Moment) -> float:
        return self.methods[0].temperature(model, moment)

    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        values, first = [], None
        for i, method in enumerate(self.methods):
            weight = self.start[i] + moment.progress * ((self.end or self.start)[i] - self.start[i])
            own = {n.removeprefix(f"{i}."): v for n, v in memory.items() if n.startswith(f"{i}.")}
            if weight == 0.0 and first is not None:
                continue
            loss = method.loss(model, moment, own)
            for name in [n for n in memory if n.startswith(f"{i}.")]:
                del memory[name]
            memory.update({f"{i}.{name}": value for name, value in own.items()})
            if weight != 0.0:  # zero times what is not finite would not be zero
                values.append(weight * loss.value)
            first = first or loss
        assert first is not None  # there is at least one method
        return Loss(torch.stack(values).sum(), first.log_weights, first.is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return sum(method.evaluations(steps, batch_size) for method in self.methods)
