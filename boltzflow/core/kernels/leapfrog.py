"""The common scheme of gradient-based kernels.

A step refreshes the momentum partially or completely, makes leapfrog steps, and optionally applies a Metropolis test.
The kernels differ in how much of the momentum is kept and in the number of leapfrog steps.
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
    """The common scheme of gradient-based kernels, with H(x, p) = −log π(x) + Σ p²/2m.

    A leapfrog step p += ½ε∇log π, x += εp/m, p += ½ε∇log π preserves volume, and is its own inverse after reversal of
    p. This also holds with a step size for each coordinate, on circles and with reflections. Including momenta, the
    log[P(undo)/P(do)] of a path is log π(before) − log π(after), summed over accepted proposals, if there is a
    Metropolis test. Otherwise it is minus the kinetic energy gained in leapfrog steps (Nilmeier et al. 2011, arXiv
    1105.2278).

    Gradients pass through the noise and the leapfrog steps. With a Metropolis test they are biased, because they omit
    that the decisions depend on parameters: adapt step sizes to an acceptance instead of learning them. Without a test
    they are exact. The density and its gradient are evaluated once initially and once per leapfrog step.
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
        """The factor by which the momentum is damped before the next step, or None if it is always resampled."""

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
                # After an overflow the step is not reversible: the state is kept, with weight zero.
                accept = (y.isfinite() & end.isfinite()).flatten(1).all(1) & gain.isfinite()
                log_ratio = log_ratio - torch.where(accept, gain, torch.inf)
            chosen = rows(accept, x)
            x, score, now = (
                torch.where(chosen, y, x),
                torch.where(chosen, slope, score),
                torch.where(accept, there, now),
            )
            # A rejected proposal reverses the momentum; otherwise π would not be invariant.
            momentum = torch.where(chosen, end, -momentum)
        log_weight = torch.zeros_like(log_ratio) if self.adjusted else now - start + log_ratio
        return Move(x, log_ratio, log_weight, acceptance, None if memory is None else momentum)
