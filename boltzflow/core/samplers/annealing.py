"""Annealing: samples and normalising constants from a gradual transition between two densities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from boltzflow.core import importance
from boltzflow.core.kernels.kernel import Kernel
from boltzflow.core.kernels.path import GeometricPath
from boltzflow.core.protocols import Proposal, Target
from boltzflow.core.samplers.schedules import AdaptiveSchedule, Schedule, checked_levels
from boltzflow.errors import OptionError


@dataclass(frozen=True)
class AnnealedSamples:
    """The result of annealing from q to g = p^α q^(1−α).

    Attributes:
        x: (n, *shape), weighted samples of g.
        log_weights: (n,) float64, −∞ for weight zero; the mean weight estimates ∫g. After resampling, all samples
            have the previous mean weight.
        ancestors: (n,) the index of the initial sample of each; 0 … n − 1 without resampling.
        fractions: λ of the levels, from 0 to 1.
        acceptance: (levels − 1,) mean acceptance of the kernel at each intermediate level.
        ess: (levels,) effective sample size as a fraction of n, at each level after the first, before resampling.
    """

    x: Tensor
    log_weights: Tensor
    ancestors: Tensor
    fractions: tuple[float, ...]
    acceptance: Tensor
    ess: Tensor

    def log_z(self) -> tuple[float, float]:
        """log ∫g, and its standard error by the delta method.

        Samples with one ancestor are not independent; `importance.log_mean_weight` treats them as a group. The estimate
        of ∫g is unbiased if neither schedule nor kernels were adapted in this run; that of its logarithm is too low by
        about half the squared error.
        """
        return importance.log_mean_weight(self.log_weights, self.ancestors)


def annealed_importance_sampling(
    base: Proposal,
    target: Target,
    schedule: Schedule,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    *,
    alpha: float = 1.0,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AnnealedSamples:
    """Moves and weights samples of the base along the geometric path to the target (Neal 2001, physics/9803008).

    The kernel acts at each intermediate level; a single level is importance sampling. Weights are exact for every
    kernel, including those without a Metropolis test. A `HamiltonianMonteCarlo` with partial momentum refreshment
    (`refresh` < 1) gives Hamiltonian annealed importance sampling (Sohl-Dickstein & Culpepper 2012, arXiv 1205.1925).
    To adapt a kernel for each level, run a few times and pass each level's `acceptance` to `adjust_step_size` before
    the production run. Gradients are not computed; only n samples at one level are stored.

    Args:
        base: q, a distribution or flow with exact samples and density.
        target: p, any object with ``log_prob(x, context)``, unnormalised.
        schedule: levels λ from 0 to 1 (`linear_schedule`, `geometric_schedule`), or an `AdaptiveSchedule`.
        kernel: one for all levels, or one for each intermediate level.
        n: number of samples.
        alpha: the final density is p^α q^(1−α).
        context: (n, C) for base, target and kernel, or None.
        generator: the random number generator.

    Raises:
        OptionError: if the schedule does not ascend from 0 to 1, or the kernels do not fit it.
        NonFiniteError: if no sample has a positive weight.

    >>> from boltzflow.core import Domain, distributions
    >>> from boltzflow.core.kernels import HamiltonianMonteCarlo
    >>> from boltzflow.core.samplers import linear_schedule
    >>> domain = Domain.real(1)
    >>> wide, narrow = (distributions.Independent(domain, width=torch.tensor([w])) for w in (2.0, 0.5))
    >>> kernel = HamiltonianMonteCarlo(domain, step_size=0.5)
    >>> samples = annealed_importance_sampling(wide, narrow, linear_schedule(10), kernel, n=1000)
    >>> log_z, error = samples.log_z()
    """
    return _anneal(base, GeometricPath(base, target, alpha), schedule, kernel, n, 0.0, context, generator)


def sequential_monte_carlo(
    base: Proposal,
    target: Target,
    schedule: Schedule,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    *,
    alpha: float = 1.0,
    resample_below: float = 0.5,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AnnealedSamples:
    """Annealed importance sampling with resampling when weights become uneven (Del Moral et al. 2006).

    DOI 10.1111/j.1467-9868.2006.00553.x. If the effective sample size at an intermediate level is below
    `resample_below`, samples are resampled in proportion to their weights (systematic resampling) before the kernel
    moves them.

    Args and Raises: those of `annealed_importance_sampling`, and:
        resample_below: effective sample size as a fraction of n, in [0, 1]; 0 never resamples.
        context: (n, C) with equal rows, or None: resampling would mix samples of different contexts.

    >>> from boltzflow.core import Domain, distributions
    >>> from boltzflow.core.kernels import HamiltonianMonteCarlo
    >>> domain = Domain.real(1)
    >>> wide, narrow = (distributions.Independent(domain, width=torch.tensor([w])) for w in (2.0, 0.1))
    >>> kernel = HamiltonianMonteCarlo(domain, step_size=0.2)
    >>> samples = sequential_monte_carlo(wide, narrow, AdaptiveSchedule(ess=0.9), kernel, n=1000)
    >>> bool(samples.ess.min() > 0.3)
    True
    """
    if not 0.0 <= resample_below <= 1.0:
        raise OptionError(f"sequential_monte_carlo: expected resample_below in [0, 1]; got {resample_below:g}.")
    if resample_below > 0.0 and context is not None and not torch.equal(context, context[:1].expand_as(context)):
        raise OptionError("sequential_monte_carlo: expected the same context for all samples; got different rows.")
    return _anneal(base, GeometricPath(base, target, alpha), schedule, kernel, n, resample_below, context, generator)


@torch.no_grad()
def _anneal(
    base: Proposal,
    path: GeometricPath,
    schedule: Schedule,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    resample_below: float,
    context: Tensor | None,
    generator: torch.Generator | None,
) -> AnnealedSamples:
    levels = schedule if isinstance(schedule, AdaptiveSchedule) else checked_levels(schedule)
    kernels = _kernels(kernel, levels)
    x, _ = base.sample(n, context, generator=generator)
    log_weights = torch.zeros(n, dtype=torch.float64, device=x.device)
    ancestors = torch.arange(n, device=x.device)
    momentum = None
    fractions, acceptance, ess = [0.0], [], []
    while True:
        slope = path.slope(x, context).double()
        fraction = (
            levels.next_fraction(fractions, log_weights, slope)
            if isinstance(levels, AdaptiveSchedule)
            else levels[len(fractions)]
        )
        log_weights = _sum(log_weights, (fraction - fractions[-1]) * slope)
        ess.append(importance.effective_sample_size(log_weights))
        fractions.append(fraction)
        if fraction == 1.0:
            break
        if ess[-1] < resample_below:
            chosen = importance.resample(log_weights, n, generator)
            x, ancestors = x[chosen], ancestors[chosen]
            momentum = None if momentum is None else momentum[chosen]
            log_weights = torch.full_like(log_weights, importance.log_mean_weight(log_weights)[0])
        log_prob = partial(path.log_prob, context=context, fraction=fraction)
        move = next(kernels)(x, log_prob, context, momentum=momentum, generator=generator)
        x, momentum = move.x, move.momentum
        log_weights = _sum(log_weights, move.log_weight.double())
        acceptance.append(move.acceptance.mean().item())
    return AnnealedSamples(
        x, log_weights, ancestors, tuple(fractions), torch.tensor(acceptance, dtype=x.dtype), torch.tensor(ess)
    )


def _kernels(kernel: Kernel | Sequence[Kernel], levels: tuple[float, ...] | AdaptiveSchedule) -> Iterator[Kernel]:
    """The kernel of each intermediate level."""
    if isinstance(kernel, Kernel):
        return repeat(kernel)
    if isinstance(levels, AdaptiveSchedule):
        raise OptionError("Expected one kernel for all levels of an AdaptiveSchedule; got a sequence of kernels.")
    if len(kernel) != len(levels) - 2:
        raise OptionError(f"Expected {len(levels) - 2} kernels, one for each intermediate level; got {len(kernel)}.")
    return iter(kernel)


def _sum(log_weights: Tensor, change: Tensor) -> Tensor:
    """The sum, or −∞ if it is not finite, so that a sample of weight zero keeps weight zero."""
    total = log_weights + change
    return torch.where(total.isfinite(), total, -torch.inf)
