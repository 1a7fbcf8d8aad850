"""Better samples if the effective sample size is low: Markov chains and annealing, with valid weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.core.kernels import HamiltonianMonteCarlo, adapt_step_size
from boltzflow.core.kernels.trajectory import safe_log_prob
from boltzflow.core.samplers import AdaptiveSchedule, AnnealedSamples, sequential_monte_carlo
from boltzflow.energies.potential import FRAMES_AT_ONCE
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, DomainError, IntractableDensityError, NonFiniteError, OptionError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import Temperature

_ADAPTED_WITH = 128  # samples
_PILOT = 256  # samples
_REMEMBERED = 0.01  # the memory of its initial frame that a chain may have after burn-in


def independence_metropolis(ensemble: Ensemble, *, chains: int = 64, burn_in: float = 0.2, seed: int = 0) -> Ensemble:
    """Equally weighted frames from Metropolis chains that take the frames of an ensemble as proposals.

    A proposal is accepted with probability min(1, w′/w) (Hastings 1970, DOI 10.1093/biomet/57.1.97), so chains remain
    at frames of large weight. No energy is evaluated. The gain is equal weights: averages are hardly better than
    weighted ones, and regions that the sampler never samples are still missing. The memory of the initial frame decays
    about as (1 − 1/w_max)^k, where w_max is the largest weight divided by the mean. Burn-in must be long enough for
    this to fall below 1 %, as far as the observed weights tell. A verdict on the original weights also applies to these
    frames, whose equal weights hide it.

    Args:
        ensemble: independent frames of one sampler, such as a generator, in their original order.
        chains: number of independent chains; each uses its own n/chains frames.
        burn_in: the fraction of each chain that is discarded at its beginning, between 0 and 1.
        seed: of the random numbers.

    Returns:
        The frames of all chains after burn-in, chain by chain. A rejected proposal repeats the previous frame. Each
        chain is a group, so errors of means come from the scatter between chains. log Z is not absolute.

    Raises:
        OptionError: if there are fewer than two chains or two frames for each, or the burn-in is not between 0 and 1,
            or too short for the largest weight.
        DataError: if the frames are in groups.
        NonFiniteError: if no weight is positive, or the burn-in of a chain contains no frame of positive weight.

    >>> x = np.random.default_rng(0).normal(size=12800)
    >>> drawn = Ensemble(np.zeros((12800, 1, 3)), x, 300.0, log_weights=0.5 * x)  # p = N(0.5, 1)
    >>> chains = independence_metropolis(drawn)
    >>> found = chains.mean(chains.energies)
    >>> bool(abs(found.value - 0.5) < 4 * found.error)
    True
    """
    length = len(ensemble) // chains if chains > 0 else 0
    if chains < 2 or length < 2 or not 0.0 < burn_in < 1.0:
        raise OptionError(
            f"Expected at least two chains of two frames or more, and a burn-in between 0 and 1; got {chains} chains "
            f"of {length} frames and a burn-in of {burn_in:g}."
        )
    if ensemble.groups is not None:
        raise DataError("Expected independent frames; got frames in groups.")
    used, burned = ensemble.log_weights[: chains * length], int(burn_in * length)
    _check_burn_in(used, length, burned, burn_in)
    log_weights = used.reshape(chains, length)
    log_uniform = np.log1p(-np.random.default_rng(seed).random((chains, length)))
    here = np.zeros(chains, dtype=np.int64)
    path = np.zeros((chains, length), dtype=np.int64)
    every = np.arange(chains)
    for step in range(1, length):
        now, proposed = log_weights[every, here], log_weights[:, step]
        # From weight zero any proposal is accepted.
        here = np.where(np.isneginf(now) | (log_uniform[:, step] + now < proposed), step, here)
        path[:, step] = here
    kept = path[:, burned:]
    if np.isneginf(np.take_along_axis(log_weights, kept, 1)).any():
        raise NonFiniteError("Expected a frame of positive weight in the burn-in of each chain; one chain has none.")
    frames = (kept + length * every[:, None]).flatten()
    return ensemble.unweighted(frames, np.repeat(every, kept.shape[1]))


def hamiltonian_moves(
    ensemble: Ensemble, generator: BoltzmannGenerator, *, moves: int = 10, leapfrog_steps: int = 5, seed: int = 0
) -> Ensemble:
    """Move each frame by Hamiltonian Monte Carlo in the generator's latent space; weights do not change.

    The moves leave the Boltzmann distribution invariant, so weighted frames stay valid after any number of moves. No
    burn-in is needed, and independent frames remain independent (Gilks & Berzuini 2001, DOI 10.1111/1467-9868.00280).
    Weights and log Z are unchanged. However, copies of a frame (see `Ensemble.resample`) separate, and averages of
    degrees of freedom that the moves sample, such as bonds and angles, improve. In latent space the density resembles
    the flow's base, so barriers are low (Hoffman et al. 2019, arXiv 1903.03704). Step sizes are adapted to an
    acceptance of 65 % with separate samples.

    Args:
        ensemble: weighted frames of any sampler, at a temperature that the generator covers.
        generator: of the same molecule.
        moves: number of trajectories for each frame.
        leapfrog_steps: number in a trajectory; each evaluates the energy and the flow, with gradients.
        seed: of the random numbers.

    Returns:
        An ensemble with the log-weights and groups of this one; frames of weight zero are unchanged.

    Raises:
        IntractableDensityError: if the generator has stochastic layers.
        DomainError: if a frame of positive weight lies outside the generator's domain.
        OptionError: if a number is not positive, or the generator does not cover the temperature.
        NonFiniteError: if no weight is positive.
    """
    latent, random = _Latent(generator, ensemble.temperature), torch.Generator().manual_seed(seed)
    used = np.flatnonzero(ensemble.weights > 0)
    parts = np.array_split(used, -(-len(used) // FRAMES_AT_ONCE))
    positions = ensemble.positions.copy()
    energies = ensemble.energies_for("`hamiltonian_moves`").copy()
    with torch.no_grad():
        starts = [latent.inverse(torch.from_numpy(positions[chosen])) for chosen in parts]
        kernel = _adapted(latent, moves, leapfrog_steps, random)
        for chosen, z in zip(parts, starts, strict=True):
            positions[chosen], energies[chosen] = latent.structures(kernel(z, latent.log_prob, generator=random).x)
    return ensemble.replace(positions=positions, energies=energies, absolute=ensemble.absolute)


def anneal(
    generator: BoltzmannGenerator,
    n: int,
    *,
    resample_below: float = 0.5,
    moves: int = 1,
    leapfrog_steps: int = 5,
    temperature: Temperature | None = None,
    seed: int = 0,
) -> Ensemble:
    """Anneal samples from the generator's density to the Boltzmann distribution, in the generator's latent space.

    The method is sequential Monte Carlo (Del Moral et al. 2006, DOI 10.1111/j.1467-9868.2006.00553.x) with Hamiltonian
    moves; with `resample_below` 0 it is annealed importance sampling (Neal 2001, arXiv physics/9803008). A small pilot
    run determines the levels and step sizes, which are then fixed, so that the weights are exact.

    Args:
        generator: its density is the initial distribution.
        n: number of samples, all in memory at once.
        resample_below: effective sample size, as a fraction, below which samples are resampled.
        moves: number of trajectories at each level.
        leapfrog_steps: number in a trajectory; each evaluates the energy and the flow, with gradients.
        temperature: in K; by default the generator's own.
        seed: of the random numbers.

    Returns:
        Weighted samples, whose mean weight estimates Z. After resampling, samples with a common ancestor form a group,
        so that errors of means and of log Z account for it. There is no log q, since weights belong to the path of each
        sample.

    Raises:
        IntractableDensityError: if the generator has stochastic layers.
        OptionError: if a number is out of range, or the generator does not cover the temperature.
        NonFiniteError: if no sample has a positive weight.
    """
    if n < 2:
        raise OptionError(f"Expected at least two samples; got {n}.")
    latent, random = _Latent(generator, temperature), torch.Generator().manual_seed(seed)
    kernel = _adapted(latent, moves, leapfrog_steps, random)
    options: dict[str, Any] = {"kernel": kernel, "resample_below": resample_below, "generator": random}
    pilot = sequential_monte_carlo(latent.base, latent, AdaptiveSchedule(ess=0.9), n=_PILOT, **options)
    return _weighted(latent, sequential_monte_carlo(latent.base, latent, pilot.fractions, n=n, **options))


def _weighted(latent: _Latent, samples: AnnealedSamples) -> Ensemble:
    positions, energies = latent.structures(samples.x)
    ancestors = samples.ancestors.cpu().numpy()
    return Ensemble(
        positions,
        energies,
        latent.temperature,
        samples.log_weights,
        topology=latent.generator.system.mdtraj_topology,
        groups=ancestors if len(np.unique(ancestors)) < len(ancestors) else None,
        absolute=True,
    )


def _check_burn_in(log_weights: Array, length: int, burned: int, burn_in: float) -> None:
    largest = len(log_weights) * float(importance.normalized_weights(torch.from_numpy(log_weights)).max())
    kept = 1.0 - 1.0 / largest
    needed = math.ceil(math.log(_REMEMBERED) / math.log(kept)) if kept > 0.0 else 0
    if burned < needed:
        raise OptionError(
            f"Expected chains of at least {math.ceil(needed / burn_in):,} frames with {needed:,} of burn-in, since the "
            f"largest weight is {largest:,.3g} times the mean; got {length:,} frames with {burned:,} of burn-in."
        )


class _Latent:
    """A molecule's Boltzmann density in the latent coordinates of its generator's flow."""

    def __init__(self, generator: BoltzmannGenerator, temperature: Temperature | None) -> None:
        if generator.flow.transform.stochastic_layers:
            raise IntractableDensityError(
                "Expected a generator whose flow has a closed-form density; got stochastic layers."
            )
        self.temperature = generator.checked_temperature(temperature)
        self.generator = generator
        self.flow = generator.flow
        self.base = generator.flow.base
        self.domain = self.base.domain
        self.target = generator.internal_target(self.temperature)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Unnormalised, of z (batch, D) → (batch,)."""
        x, log_ratio = self.flow.transform(z, self._context(z))
        log_p: Tensor = self.target.log_prob(x) + log_ratio
        return log_p

    def inverse(self, positions: Tensor) -> Tensor:
        """Positions (batch, N, 3) → z (batch, D).

        Raises:
            DomainError: if a structure lies outside the domain.
        """
        x, _ = self.generator.coordinates.inverse(positions.to(self.flow.like))
        inside = self.flow.domain.contains(x)
        if not bool(inside.all()):
            raise DomainError(
                f"Expected frames in the domain of the generator's coordinates; {int((~inside).sum())} of "
                f"{len(x)} lie outside."
            )
        z, _ = self.flow.transform.inverse(x, self._context(x))
        return z

    def structures(self, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n, N, 3) in nm and energies (n,) in kJ/mol, +inf where they cannot be evaluated."""
        parts = []
        with torch.no_grad():
            for some in torch.split(z, FRAMES_AT_ONCE):
                x, _ = self.flow.transform(some, self._context(some))
                positions, _ = self.generator.coordinates(x)
                energies = self.generator.potential.energy(positions)
                parts.append((positions.cpu(), torch.where(energies.isfinite(), energies, torch.inf).cpu()))
        positions, energies = (torch.cat(column) for column in zip(*parts, strict=True))
        return positions.numpy(), energies.numpy()

    def _context(self, like: Tensor) -> Tensor | None:
        return self.generator.context(like.new_full((len(like),), self.temperature))


def _adapted(latent: _Latent, moves: int, leapfrog_steps: int, random: torch.Generator) -> HamiltonianMonteCarlo:
    """Hamiltonian Monte Carlo whose step sizes are adapted with separate samples."""
    if moves < 1:
        raise OptionError(f"Expected at least one move; got {moves}.")
    with torch.no_grad():
        z, log_q = latent.base.sample(_ADAPTED_WITH * 8, generator=random)
        log_weights = safe_log_prob(latent.log_prob, latent.domain, z) - log_q
        start = z[importance.resample(log_weights, _ADAPTED_WITH, random)]
    kernel = HamiltonianMonteCarlo(latent.domain, 0.2 * z.std(0), leapfrog_steps=leapfrog_steps).to(z)
    adapt_step_size(kernel, start, latent.log_prob, iterations=30, generator=random)
    kernel.steps = moves
    return kernel
