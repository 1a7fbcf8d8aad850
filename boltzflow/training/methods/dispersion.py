"""The dispersion of log-weights on samples of the flow."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.core.objectives import Loss, log_dispersion
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.method import Memory, StepInfo
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class LogDispersion(CooledMethod):
    """Minimise the dispersion of log-weights on fixed samples of the flow; no gradient of the energy is needed.

    Order 2 is the log-variance divergence (L. Richter et al. 2020, arXiv 2010.10436); order 1 is the mean distance from
    the median (H. Schopmans et al. 2026, arXiv 2602.03729). As part of a `Mixture` it regularises another method.
    Methods that learn from weighted samples have it built in as their `dispersion`. It costs one energy evaluation per
    sample. Log-weights at two temperatures differ by log Z, so a flow for a temperature range is trained at a single
    temperature in each step.

    The temperature follows `CooledMethod`.

    Attributes:
        order: 1 or 2.
    """

    order: int = 1

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        target = model.internal_target(self.temperature(model, info))
        context = self.context(model, info)
        n = info.batch_size
        return log_dispersion(model.flow, target, n, order=self.order, context=context, generator=info.random)
