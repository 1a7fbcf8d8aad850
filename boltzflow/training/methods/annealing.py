"""Temperature-annealed Boltzmann generators."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from boltzflow.core import importance
from boltzflow.core.objectives import Loss
from boltzflow.errors import OptionError
from boltzflow.training.methods.drawing import draw, fit_to_memory, in_whole_batches
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.methods.reverse_kl import ReverseKL
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class TemperatureAnnealing(Method):
    """Reverse KL at a high temperature, then reweighting down a ladder of temperatures (TA-BG).

    H. Schopmans and P. Friederich 2025, arXiv 2501.19077. At each temperature of the ladder samples are drawn once and
    reweighted to the next temperature, and the flow is fitted to them by maximum likelihood. The last step of the
    ladder is repeated at the target's own temperature. Reverse KL does not collapse at 1200 K, and reweighting
    preserves the populations of the basins. It costs one energy evaluation per sample: a batch in each hot step, and
    `samples` at each temperature of the ladder.

    Attributes:
        hot: reverse KL at its `hot_temperature`; its own temperature schedule is not used.
        hot_share: fraction of the steps with it.
        rungs: number of temperatures below the hot one, in geometric order.
        samples: number drawn at each temperature, and again when the last one is repeated.
        clip: fraction of the largest weights that are clipped to the smallest of them.
        dispersion: weight of log-dispersion regularisation (see `fit`), 0 for none.
        dispersion_order: 1 or 2.
    """

    hot: ReverseKL = field(default_factory=ReverseKL)
    hot_share: float = 0.5
    rungs: int = 9
    samples: int = 100_000
    clip: float = 1e-4
    dispersion: float = 0.0
    dispersion_order: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.hot_share < 1.0 or self.rungs < 1 or self.samples < 2:
            raise OptionError(
                f"Expected hot_share between 0 and 1, at least 1 rung and 2 samples; got {self.hot_share:g}, "
                f"{self.rungs} and {self.samples}."
            )

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        hot, target = max(self.hot.hot_temperature, model.temperature), model.temperature
        rung = min(self._rung(info) + 1, self.rungs)  # the last one is repeated
        return float(hot * (target / hot) ** (rung / self.rungs))

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        rung = self._rung(info)
        if rung < 0:
            hot_steps = replace(self.hot, hot_share=1.0, cooling_share=0.0)
            return hot_steps.loss(model, info, memory)
        is_fresh = "rung" not in memory or int(memory["rung"]) != rung
        if is_fresh:
            temperature = self.temperature(model, info)
            drawn = draw(model, self.samples, info.batch_size, info.random)
            log_weights = drawn.log_weights(temperature)
            memory.update(
                rung=torch.tensor(rung),
                z=drawn.z,
                weights=importance.normalized_weights(importance.clipped(log_weights, self.clip)),
                log_target=drawn.log_target(temperature),
                log_weights=log_weights,
            )
        value = fit_to_memory(model, info, memory, self.dispersion, self.dispersion_order)
        return Loss(value, memory["log_weights"], is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        rungs = [self._rung(StepInfo(step, steps, batch_size, torch.Generator())) for step in range(steps)]
        hot = self.hot.evaluations(rungs.count(-1), batch_size)
        return hot + len(set(rungs) - {-1}) * in_whole_batches(self.samples, batch_size)

    def _rung(self, info: StepInfo) -> int:
        """−1 in the hot phase, then 0 … rungs."""
        after = info.progress - self.hot_share
        return -1 if after < 0 else min(int(after / (1 - self.hot_share) * (self.rungs + 1)), self.rungs)
