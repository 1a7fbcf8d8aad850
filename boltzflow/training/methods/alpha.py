"""Rényi's divergences from samples of the flow."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.core.objectives import Loss, alpha_divergence
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.method import Memory, StepInfo
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class AlphaDivergence(CooledMethod):
    """Rényi's α-divergence of p from the flow, on its own samples (see `boltzflow.core.objectives.alpha_divergence`).

    The gradient follows G. Tucker et al. 2018, arXiv 1810.04152. α = 2 is the variance of the weights; α → 0 is reverse
    KL. The divergence rewards coverage, but only of regions that the flow samples, and while the flow is far from p few
    samples dominate its gradient. It is therefore used with a falling temperature, or at the end of a training with
    another method. It costs one energy evaluation per sample. Weights at two temperatures differ by the unknown ratio
    of their Z, so a flow for a temperature range is trained at a single temperature in each step.

    The temperature follows `CooledMethod`.

    Attributes:
        alpha: larger values give large weights more influence.
    """

    alpha: float = 0.5

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        target = model.internal_target(self.temperature(model, info))
        context = self.context(model, info)
        n = info.batch_size
        return alpha_divergence(model.flow, target, n, self.alpha, context=context, generator=info.random)
