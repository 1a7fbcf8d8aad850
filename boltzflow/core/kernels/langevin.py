"""Langevin dynamics, overdamped and with momenta, with a Metropolis test or exact path weights."""

from __future__ import annotations

from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.kernels.leapfrog import LeapfrogKernel
from boltzflow.errors import OptionError


class Langevin(LeapfrogKernel):
    """Overdamped Langevin steps x′ = x + ½ε²∇log π(x) + εξ (Rossky et al. 1978, DOI 10.1063/1.436415).

    Adjusted by a Metropolis test (MALA: Roberts & Tweedie 1996, DOI 10.2307/3318418), or unadjusted. Without the test,
    π is invariant only in the limit of small ε, but path weights and gradients are exact. For gradients see
    `LeapfrogKernel`.

    Args:
        domain: the domain of the states.
        step_size: ε, one positive number or one for each coordinate: the standard deviation of the noise.
        steps: number of steps in a call.
        adjusted: whether there is a Metropolis test.
        max_score: bound on the components of ∇log π; None for none.
        trainable: whether step sizes are learned.
        context_size: size of a context that they depend on; 0 for none.

    Raises:
        OptionError: if an argument is out of range.
        ShapeError: if the step sizes do not fit the domain.

    >>> import torch
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
        # With a new momentum of mass 1 and one leapfrog step, p is the noise ξ: the same scheme.
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
    """Langevin dynamics with momenta, damped by e^{−γε} in a step (Bussi & Parrinello 2007, arXiv 0803.4083).

    OBABO: thermostat, half kick, drift, half kick, with adjacent half thermostats combined. Adjusted by a Metropolis
    test (Horowitz 1991, DOI 10.1016/0370-2693(91)90812-5), or unadjusted. Without the test, π is invariant only in the
    limit of small ε, but path weights and gradients are exact. For gradients see `LeapfrogKernel`.

    Args:
        domain: the domain of the states.
        step_size: ε, one positive number or one for each coordinate.
        steps: number of steps in a call.
        friction: γ, positive.
        mass: of the momenta, one positive number or one for each coordinate.
        adjusted: whether there is a Metropolis test.
        max_score: bound on the components of ∇log π; None for none.
        trainable: whether step sizes and masses are learned.
        context_size: size of a context that both depend on; 0 for none.

    Raises:
        OptionError: if an argument is out of range.
        ShapeError: if step sizes or masses do not fit the domain.

    >>> import torch
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
