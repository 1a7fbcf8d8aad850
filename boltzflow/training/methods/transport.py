"""Constrained mass transport: a chain of densities, each a short step closer to the target."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.core import importance
from boltzflow.core.objectives import Loss
from boltzflow.errors import OptionError
from boltzflow.training.methods.drawing import draw, fit_to_memory, in_whole_batches
from boltzflow.training.methods.method import Memory, Method, Moment
from boltzflow.training.trainable import Trainable
from boltzflow.training.transport import constrained_transport


@dataclass(frozen=True)
class ConstrainedTransport(Method):
    """Constrained mass transport (von Klitzing et al. 2026, arXiv 2510.18460).

    Again and again samples are drawn, weighted towards the target as far as a trust region and a bound on the loss
    of entropy let them be (`boltzflow.training.transport`), and the flow is fitted to them by maximum likelihood. Where
    neither constraint binds any longer the weights are the importance weights of the target: what the flow covers
    too thinly weighs much and is filled up, which reverse KL does not do. It costs one energy evaluation a sample
    drawn, `samples` every `every` steps, and none a step.

    Attributes:
        samples: drawn at a time.
        every: steps between two draws.
        trust_region: KL of the next density from the present one, nats.
        max_entropy_loss: by one such step, nats.
        clip: share of the largest weights that is lowered to the smallest of them, against single samples that would
            be learnt by heart.
        dispersion: weight of log-dispersion regularisation (see `fit`), 0 for none.
        dispersion_order: 1 or 2.
    """

    samples: int = 50_000
    every: int = 200
    trust_region: float = 0.5
    max_entropy_loss: float = 0.5
    clip: float = 1e-4
    dispersion: float = 0.0
    dispersion_order: int = 1

    def __post_init__(self) -> None:
        if self.samples < 2 or self.every < 1:
            raise OptionError(f"Expected samples to draw, and steps between; got {self.samples} and {self.every}.")

    def temperature(self, model: Trainable, moment: Moment) -> float:
        return model.temperature

    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        is_fresh = moment.step % self.every == 0 or not memory
        if is_fresh:
            drawn = draw(model, self.samples, moment.batch_size, moment.random)
            log_target = drawn.log_target(model.temperature)
            step = constrained_transport(drawn.log_q, log_target, self.trust_region, self.max_entropy_loss)
            # The next density is known at the samples, up to a constant: that is what log q is to become.
            memory.update(
                z=drawn.z,
                weights=importance.normalized_weights(importance.clipped(step.log_weights, self.clip)),
                log_target=(step.log_weights + drawn.log_q).to(drawn.z),
                log_weights=drawn.log_weights(model.temperature),
            )
        value = fit_to_memory(model, moment, memory, self.dispersion, self.dispersion_order)
        return Loss(value, memory["log_weights"], is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return -(-steps // self.every) * in_whole_batches(self.samples, batch_size)
