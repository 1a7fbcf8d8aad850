"""Kernels that follow the gradient: Hamiltonian Monte Carlo, overdamped and underdamped Langevin dynamics.

All are one scheme: some of the momentum is drawn anew, then leapfrog steps, then a Metropolis test or none. They
differ in how much of the momentum survives and how many leapfrog steps there are.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.nets import ContextParameter
from boltzflow.core.sampling.kernel import Kernel, Move, metropolis_test, normal_noise
from boltzflow.core.sampling.trajectory import LogDensity, drift, log_prob_and_score, rows
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


class HamiltonianMonteCarlo(LeapfrogKernel):
    """Leapfrog trajectories with a Metropolis test (Duane et al. 1987, DOI 10.1016/0370-2693(87)91197-X).

    With `refresh` < 1 some of the momentum survives from step to step and from call to call (Horowitz 1991,
    DOI 10.1016/0370-2693(91)90812-5), which annealing turns into Hamiltonian annealed importance sampling. For
    gradients see `LeapfrogKernel`.

    Args:
        domain: where the states live.
        step_size: ε, one positive number or one for each coordinate.
        steps: trajectories in a call.
        leapfrog_steps: of a trajectory.
        mass: of the momenta, one positive number or one for each coordinate.
        refresh: the share of a momentum's variance that is drawn anew before a trajectory, in (0, 1].
        max_score: bound on the components of ∇log π; None for none. π is left invariant with any.
        trainable: whether step sizes and masses are learned.
        context_size: size of a context that both depend on; 0 for none.

    Raises:
        OptionError: if a number is out of its range.
        ShapeError: if step sizes or masses do not fit the domain.

    >>> from boltzflow.core import Domain
    >>> kernel = HamiltonianMonteCarlo(Domain.real(2), step_size=0.5, leapfrog_steps=3, mass=torch.tensor([1.0, 4.0]))
    >>> kernel(torch.zeros(5, 2), lambda x: -0.5 * x.square().sum(1)).x.shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        domain: Domain,
        step_size: float | Tensor,
        steps: int = 1,
        *,
        leapfrog_steps: int = 5,
        mass: float | Tensor = 1.0,
        refresh: float = 1.0,
        max_score: float | None = None,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__(
            domain,
            step_size,
            steps,
            leapfrog_steps=leapfrog_steps,
            mass=mass,
            adjusted=True,
            max_score=max_score,
            trainable=trainable,
            context_size=context_size,
        )
        if not 0.0 < refresh <= 1.0:
            raise OptionError(f"HamiltonianMonteCarlo: expected refresh in (0, 1]; got {refresh:g}.")
        self.refresh = refresh

    def _memory(self, step_size: Tensor) -> Tensor | None:
        return None if self.refresh == 1.0 else step_size.new_tensor(1.0 - self.refresh).sqrt()


class Langevin(LeapfrogKernel):
    """Overdamped Langevin steps x′ = x + ½ε²∇log π(x) + εξ (Rossky et al. 1978, DOI 10.1063/1.436415).

    Adjusted by a Metropolis test (MALA: Roberts & Tweedie 1996, DOI 10.2307/3318418), or not: then π is left
    invariant only as ε becomes small, but path weights are exact and gradients too. For gradients see
    `LeapfrogKernel`.

    Args:
        domain: where the states live.
        step_size: ε, one positive number or one for each coordinate: the standard deviation of the noise.
        steps: steps in a call.
        adjusted: whether there is a Metropolis test.
        max_score: bound on the components of ∇log π; None for none.
        trainable: whether step sizes are learned.
        context_size: size of a context that they depend on; 0 for none.

    Raises:
        OptionError: if a number is out of its range.
        ShapeError: if the step sizes do not fit the domain.

    >>> from boltzflow.core import Domain
    >>> kernel = Langevin(Domain.circle(1), step_size=0.3, adjusted=False)
    >>> kernel(torch.zeros(5, 1), lambda x: x.cos().sum(1)).log_ratio.shape
    torch.Size([5])
    """

    def __init__(
        self,
        domain: Domain,
        step_size: float | Tensor,
        steps: int = 1,
        *,
        adjusted: bool = True,
        max_score: float | None = None,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        # With a fresh momentum of mass 1 and one leapfrog step, p is the noise ξ: the same scheme.
        super().__init__(
            domain,
            step_size,
            steps,
            leapfrog_steps=1,
            mass=None,
            adjusted=adjusted,
            max_score=max_score,
            trainable=trainable,
            context_size=context_size,
        )

    def _memory(self, step_size: Tensor) -> Tensor | None:
        return None


class UnderdampedLangevin(LeapfrogKernel):
    """Langevin dynamics with momenta, of which e^{−γε} survives a step (Bussi & Parrinello 2007, arXiv 0803.4083).

    OBABO: thermostat, half kick, flight, half kick; half thermostats that meet are joined. Adjusted by a
    Metropolis test (Horowitz 1991, DOI 10.1016/0370-2693(91)90812-5), or not: then π is left invariant only as ε
    becomes small, but path weights are exact and gradients too. For gradients see `LeapfrogKernel`.

    Args:
        domain: where the states live.
        step_size: ε, one positive number or one for each coordinate.
        steps: steps in a call.
        friction: γ, positive.
        mass: of the momenta, one positive number or one for each coordinate.
        adjusted: whether there is a Metropolis test.
        max_score: bound on the components of ∇log π; None for none.
        trainable: whether step sizes and masses are learned.
        context_size: size of a context that both depend on; 0 for none.

    Raises:
        OptionError: if a number is out of its range.
        ShapeError: if step sizes or masses do not fit the domain.

    >>> from boltzflow.core import Domain
    >>> kernel = UnderdampedLangevin(Domain.real(1), step_size=0.3, steps=10, friction=2.0, adjusted=False)
    >>> kernel(torch.zeros(5, 1), lambda x: -0.5 * x.square().sum(1)).momentum.shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        domain: Domain,
        step_size: float | Tensor,
        steps: int = 1,
        *,
        friction: float = 1.0,
        mass: float | Tensor = 1.0,
        adjusted: bool = True,
        max_score: float | None = None,
        trainable: bool = False,
        context_size: int = 0,
    ) -> None:
        super().__init__(
            domain,
            step_size,
            steps,
            leapfrog_steps=1,
            mass=mass,
            adjusted=adjusted,
            max_score=max_score,
            trainable=trainable,
            context_size=context_size,
        )
        if not friction > 0.0:
            raise OptionError(f"UnderdampedLangevin: expected a positive friction; got {friction:g}.")
        self.friction = friction

    def _memory(self, step_size: Tensor) -> Tensor | None:
        return (-self.friction * step_size).exp()
