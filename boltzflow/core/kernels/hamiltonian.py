"""Hamiltonian Monte Carlo."""

from __future__ import annotations

from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.kernels.leapfrog import LeapfrogKernel
from boltzflow.errors import OptionError


class HamiltonianMonteCarlo(LeapfrogKernel):
    """Leapfrog trajectories with a Metropolis test (Duane et al. 1987, DOI 10.1016/0370-2693(87)91197-X).

    With `refresh` < 1 the momentum is only partially refreshed between steps and between calls (Horowitz 1991,
    DOI 10.1016/0370-2693(91)90812-5); in annealing this gives Hamiltonian annealed importance sampling. For
    gradients see `LeapfrogKernel`.

    Args:
        domain: the domain of the states.
        step_size: ε, one positive number or one for each coordinate.
        steps: number of trajectories in a call.
        leapfrog_steps: number of leapfrog steps in a trajectory.
        mass: of the momenta, one positive number or one for each coordinate.
        refresh: the fraction of a momentum's variance that is resampled before a trajectory, in (0, 1].
        max_score: bound on the components of ∇log π; None for none. π is invariant for any bound.
        trainable: whether step sizes and masses are learned.
        context_size: size of a context that both depend on; 0 for none.

    Raises:
        OptionError: if an argument is out of range.
        ShapeError: if step sizes or masses do not fit the domain.

    >>> import torch
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
