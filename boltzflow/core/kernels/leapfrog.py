"""The common scheme of the kernels that follow the gradient.

Some of the momentum is drawn anew, then come leapfrog steps, then a Metropolis test or none. The kernels differ in how
much of the momentum survives and how many leapfrog steps there are.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.kernels.kernel import Kernel, Move, metropolis_test, normal_noise
from boltzflow.core.kernels.trajectory import LogDensity, drift, log_prob_and_score, rows
from boltzflow.core.nets import ContextParameter
from boltzflow.errors import OptionError


class LeapfrogKernel(Kernel):
    """The common scheme of the kernels that follow the gradient, with H(x, p) = −log π(x) + Σ p²/2m.

    A leapfrog step p += ½ε∇log π, x += εp/m, p += ½ε∇log π keeps volumes and is its own inverse with p turned round,
    also with a step size for each coordinate, around circles and through reflections. With momenta accounted for, a
    path's log[P(undo)/P(do)] is log π(before) − log π(after) of each accepted proposal if there is a Metropolis test,
    and minus the kinetic energy gained in leapfrog steps if there is none (Nilmeier et al. 2011, arXiv 1105.2278).

    Gradients pass through the noise and the leapfrog steps. With a Metropolis test they leave out that decisions
    depend on parameters, and are biased: adapt step sizes to an acceptance instead of learning them. Without a test
    they are exact. The density is evaluated, with its gradient, once at the start and once a leapfrog step.
    """

    log_mass: ContextParameter | None

    def __init__(
        self,
        domain: Domain,
        step_size: float | Tensor,
        steps: int,
        *,
        leapfrog_steps: int,
        mass: float | Tensor | None,
        adjusted: bool,
        max_score: float | None,
        trainable: bool,
        context_size: int,
    ) -> None:
        super().__init__(domain, step_size, steps, trainable=trainable, context_size=context_size)
        if leapfrog_steps < 1:
            raise OptionError(f"{type(self).__name__}: expected at least one leapfrog step; got {leapfrog_steps}.")
        if max_score is not None and not max_score > 0.0:
            raise OptionError(f"{type(self).__name__}: expected a positive max_score; got {max_score:g}.")
        self.leapfrog_steps = leapfrog_steps
        self.adjusted = adjusted
        self.max_score = max_score
        self.log_mass = None
        if mass is not None:
            self.log_mass = self._log_parameter("mass", mass, context_size).requires_grad_(trainable)

    @abstractmethod
    def _memory(self, step_size: Tensor) -> Tensor | None:
        """The factor by which a momentum survives until the next step, or None where it is always drawn anew."""

    def forward(
        self,
        x: Tensor,
        log_prob: LogDensity,
        context: Tensor | None = None,
        *,
        momentum: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Move:
        step_size = self.step_size(x, context)
        mass = torch.ones_like(step_size) if self.log_mass is None else self.log_mass(context).exp().to(x.dtype)
        memory = self._memory(step_size)
        evaluate = partial(log_prob_and_score, log_prob, self.domain, max_score=self.max_score)
        now, score = evaluate(x)
        start = now
        log_ratio, acceptance = torch.zeros_like(now), torch.zeros_like(now)
        for _ in range(self.steps):
            fresh = mass.sqrt() * normal_noise(x, generator)
            if memory is None or momentum is None:
                momentum = fresh
            else:
                momentum = memory * momentum + (1.0 - memory.square()).sqrt() * fresh
            y, end, there, slope = x, momentum, now, score
            for _ in range(self.leapfrog_steps):
                end = end + 0.5 * step_size * slope
                y, sign = drift(self.domain, y, step_size * end / mass)
                there, slope = evaluate(y)
                end = sign * end + 0.5 * step_size * slope
            gain = (0.5 * (end.square() - momentum.square()) / mass).flatten(1).sum(1)
            accept, probability = metropolis_test(there - now - gain, generator)
            acceptance = acceptance + probability / self.steps
            if self.adjusted:
                log_ratio = log_ratio + torch.where(accept, now - there, 0.0)
            else:
                # Where numbers overflowed there is no way back: the state stays, with weight zero.
                accept = (y.isfinite() & end.isfinite()).flatten(1).all(1) & gain.isfinite()
                log_ratio = log_ratio - torch.where(accept, gain, torch.inf)
            chosen = rows(accept, x)
            x, score, now = (
                torch.where(chosen, y, x),
                torch.where(chosen, slope, score),
                torch.where(accept, there, now),
            )
            # A rejected proposal turns the momentum round: without this, π would not be left invariant.
            momentum = torch.where(chosen, end, -momentum)
        log_weight = torch.zeros_like(log_ratio) if self.adjusted else now - start + log_ratio
        return Move(x, log_ratio, log_weight, acceptance, None if memory is None else momentum)
