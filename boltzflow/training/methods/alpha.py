"""Rényi's divergences from samples of the flow."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.core.objectives import Loss, alpha_divergence
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.method import Memory, Moment
from boltzflow.training.trainable import Trainable


@dataclass(frozen=True)
class AlphaDivergence(CooledMethod):
    """Rényi's α-divergence of p from the flow, on its own samples (see `boltzflow.core.objectives.alpha_divergence`).

    G. Tucker et al. 2018, arXiv 1810.04152, for the gradient. α = 2 is the variance of the weights, α → 0 reverse
    KL. It asks for coverage, but sees only what the flow samples, and few samples rule its gradient while the flow is
    far from p: so it follows a falling temperature, or ends a training that another method has begun. One energy
    evaluation a sample. Weights of two temperatures differ by the ratio of their Z, which is not known: a flow for a
    range of temperatures is shown one of them in each step.

    The course of temperatures is that of `CooledMethod`.

    Attributes:
        alpha: the larger, the more the largest weights count.
    """

    alpha: float = 0.5

    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        target = model.internal_target(self.temperature(model, moment))
        context = self.context(model, moment)
        n = moment.batch_size
        return alpha_divergence(model.flow, target, n, self.alpha, context=context, generator=moment.random)
