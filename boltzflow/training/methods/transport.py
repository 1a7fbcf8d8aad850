"""Constrained mass transport: a sequence of densities, each a short step closer to the target."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.core import importance
from boltzflow.core.objectives import Loss
from boltzflow.errors import OptionError
from boltzflow.training.methods.drawing import draw, fit_to_memory, in_whole_batches
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable
from boltzflow.training.transport import constrained_transport


@dataclass(frozen=True)
class ConstrainedTransport(Method):
    """Constrained mass transport (von Klitzing et al. 2026, arXiv 2510.18460).

    Samples are drawn repeatedly and weighted towards the target, as far as a trust region and a bound on the loss of
    entropy allow (`boltzflow.training.transport`). The flow is fitted to them by maximum likelihood. Once neither
    constraint is active, the weights are the importance weights of the target: undersampled regions have large weights
    and are filled in, unlike with reverse KL. It costs one energy evaluation per drawn sample (`samples` every `every`
    steps), and none in other steps.

    Attributes:
        samples: number drawn at a time.
        every: number of steps between two draws.
        trust_region: bound on the KL divergence of the next density from the current one, nats.
        max_entropy_loss: bound on the loss of entropy in one such change, nats.
        clip: fraction of the largest weights that are clipped to the smallest of them, so that the flow does not
            overfit single samples.
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
            raise OptionError(
                f"Expected at least 2 samples and 1 step between draws; got {self.samples} and {self.every}."
            )

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return model.temperature

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        is_fresh = info.step % self.every == 0 or not memory
        if is_fresh:
            drawn = draw(model, self.samples, info.batch_size, info.random)
            log_target = drawn.log_target(model.temperature)
            step = constrained_transport(drawn.log_q, log_target, self.trust_region, self.max_entropy_loss)
            # The next density, known at the samples up to a constant, is the target of log q.
            memory.update(
                z=drawn.z,
                weights=importance.normalized_weights(importance.clipped(step.log_weights, self.clip)),
                log_target=(step.log_weights + drawn.log_q).to(drawn.z),
                log_weights=drawn.log_weights(model.temperature),
            )
        value = fit_to_memory(model, info, memory, self.dispersion, self.dispersion_order)
        return Loss(value, memory["log_weights"], is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return -(-steps // self.every) * in_whole_batches(self.samples, batch_size)
