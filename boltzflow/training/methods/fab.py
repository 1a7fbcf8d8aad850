"""Flow annealed importance sampling bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.core.kernels import HamiltonianMonteCarlo
from boltzflow.core.objectives import Loss
from boltzflow.core.samplers import annealed_importance_sampling, linear_schedule
from boltzflow.errors import OptionError
from boltzflow.training.methods.drawing import draw, fit_weighted
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable

_ALPHA = 2.0
_CIRCLE = 0.5  # rad: the scale of steps on circles
_ACCEPTANCE = 0.65
_LARGEST_SCORE = 1e4  # in kT per unit of a coordinate: clashes must not make a trajectory overflow


@dataclass(frozen=True)
class FAB(Method):
    """Flow annealed importance sampling bootstrap (FAB): a prioritised buffer of samples from undersampled regions.

    L. Midgley et al. 2023, arXiv 2208.01893. Annealed importance sampling with Hamiltonian Monte Carlo goes from the
    flow q to p²/q, which is large where p is large and q is small, and gives the best estimate of the variance of
    importance weights. The flow is fitted to these samples by maximum likelihood. Each sample is used several times,
    with a weight that is corrected as the flow changes. The method finds regions that q misses. It costs levels ·
    (leapfrog_steps + 2) + 1 energy evaluations per sample, each with a gradient through the flow, and one batch per
    round to monitor the flow.

    Attributes:
        every: number of steps between two rounds of annealing, each of one batch.
        levels: number of intermediate densities.
        leapfrog_steps: number in each trajectory; the step size adapts to an acceptance of 65 %.
        batches: capacity of the buffer; the oldest batches are removed first.
        first_batches: number of batches with which it is filled at first.
        largest_correction: upper bound on the factor by which a weight has changed since its sample was made.
    """

    every: int = 8
    levels: int = 8
    leapfrog_steps: int = 5
    batches: int = 64
    first_batches: int = 8
    largest_correction: float = 10.0

    def __post_init__(self) -> None:
        if min(self.every, self.levels, self.leapfrog_steps, self.first_batches) < 1 or self.batches < 1:
            raise OptionError(
                f"FAB: expected positive every, leapfrog_steps, levels, batches and first_batches; got "
                f"{self.every}, {self.leapfrog_steps}, {self.levels}, {self.batches} and {self.first_batches}."
            )

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return model.temperature

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        rounds = self.first_batches if not memory else int(info.step % self.every == 0)
        for _ in range(rounds):
            self._anneal(model, info, memory)
        priorities = memory["log_weights"].double().softmax(0)
        # Without replacement if there are enough samples of positive weight.
        replacement = int((priorities > 0).sum()) < info.batch_size
        chosen = torch.multinomial(priorities, info.batch_size, replacement, generator=info.random)
        log_q = model.flow.log_prob(memory["z"][chosen])
        change = (1.0 - _ALPHA) * (log_q.detach() - memory["log_q"][chosen])
        is_known = change.isfinite()
        change = torch.where(is_known, change, 0.0)
        value = fit_weighted(log_q, change.exp().clamp(max=self.largest_correction))
        # Assigned, not added: a sample that was drawn twice has changed once.
        new = {
            "log_weights": memory["log_weights"][chosen] + change,
            "log_q": torch.where(is_known, log_q.detach(), memory["log_q"][chosen]),
        }
        memory.update({name: memory[name].index_copy(0, chosen, values) for name, values in new.items()})
        return Loss(value, memory["of_flow"], rounds > 0)

    def evaluations(self, steps: int, batch_size: int) -> int:
        rounds = self.first_batches + (steps - 1) // self.every
        return rounds * batch_size * (self.levels * (self.leapfrog_steps + 2) + 2)

    def _anneal(self, model: Trainable, info: StepInfo, memory: Memory) -> None:
        """Add one batch from p²/q to the buffer; the step size adapts to the acceptance."""
        target, flow = model.internal_target(), model.flow
        log_scale = memory.get("log_scale", torch.tensor(-2.0))
        kernel = HamiltonianMonteCarlo(
            flow.domain,
            step_size=_scales(model) * log_scale.exp(),
            leapfrog_steps=self.leapfrog_steps,
            max_score=_LARGEST_SCORE,
        ).to(flow.like.device)
        frozen = [p for p in flow.parameters() if p.requires_grad]
        for p in frozen:  # only gradients with respect to positions are needed
            p.requires_grad_(False)
        try:
            samples = annealed_importance_sampling(
                flow,
                target,
                linear_schedule(self.levels + 1),
                kernel,
                info.batch_size,
                alpha=_ALPHA,
                generator=info.random,
            )
            with torch.no_grad():
                log_q = flow.log_prob(samples.x)
        finally:
            for p in frozen:
                p.requires_grad_(True)
        sound = samples.log_weights.isfinite() & log_q.isfinite()
        new = {
            "z": samples.x,
            "log_weights": torch.where(sound, samples.log_weights, -torch.inf).to(log_q),
            "log_q": torch.where(sound, log_q, 0.0),
        }
        for name, values in new.items():
            kept = memory.get(name, values[:0])
            memory[name] = torch.cat([kept, values])[-self.batches * info.batch_size :]
        memory["log_scale"] = log_scale + 0.3 * (samples.acceptance.mean().to(log_scale) - _ACCEPTANCE)
        memory["of_flow"] = draw(model, info.batch_size, info.batch_size, info.random).log_weights(model.temperature)


def _scales(model: Trainable) -> Tensor:
    """The scale of steps of each coordinate (D,): its width, or a part of its circle."""
    widths = model.widths.float()
    return torch.where(widths.isfinite(), widths, _CIRCLE)
