"""Whether a generator has lost a part of the equilibrium distribution; no simulation data are needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.weighting.reweighting import log_weights_of
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, OptionError, TopologyError
from boltzflow.estimate import Estimate
from boltzflow.generator import BoltzmannGenerator
from boltzflow.simulation import Langevin, ParallelTempering, Particles, Progress, TemperingOptions
from boltzflow.verdict import Trust, Verdict

UNDERSAMPLED = 100.0
"""A structure counts as undersampled if its weight exceeds this multiple of the mean weight."""

_ALARM, _CARE = 0.01, 0.001  # undersampled fractions of the equilibrium distribution
_FAR, _TOO_FAR = 0.1, 0.5  # undersampled fractions at which no lost basin can be told from a poor generator
_BLIND = 0.5  # an upper bound on the undersampled fraction that is too weak to be of use
_HOTTEST = 4.0  # times the generator's temperature
_TEMPERATURES = 6
_HYDROGEN_MASS = 3.0  # dalton
_TIMESTEP = 0.002  # ps
_LADDERS = 32


@dataclass(frozen=True)
class CollapseCheck:
    """What an independent simulation finds where the generator rarely samples.

    Attributes:
        missed: undersampled fraction of the equilibrium distribution according to the simulation: frames with more than
            `UNDERSAMPLED` times the mean weight, or outside the coordinates' domain. The error comes from independent
            ladders. If the fraction is zero, the error is 3/ladders, a 95 % bound that assumes all frames of a ladder
            to be alike.
        expected: the same fraction according to the generator's own samples: what a low effective sample size explains.
        outside: fraction outside the domain alone.
        forward_ess: effective sample size of importance sampling according to the simulation's frames, as a fraction:
            1/⟨w⟩ with weights of mean 1. Unlike that of the generator's own samples, it also counts regions that they
            miss.
        frames: number of frames of the simulation at the generator's temperature.
        ladders: number of independent ladders.
        lost_ladders: number of ladders that exploded and are left out.
        evaluations: number of energy evaluations.
        verdict: whether a basin is lost.
    """

    missed: Estimate
    expected: float
    outside: Estimate
    forward_ess: float
    frames: int
    ladders: int
    lost_ladders: int
    evaluations: int
    verdict: Verdict


def check_collapse(
    generator: BoltzmannGenerator,
    ensemble: Ensemble,
    *,
    picoseconds: float = 20.0,
    ladders: int = _LADDERS,
    seed: int = 0,
    compile: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> CollapseCheck:
    """Look for lost basins: compare the generator with parallel tempering that starts from its samples.

    Hot replicas cross barriers. Frames at the generator's temperature should have weights p/q like those of the
    generator's own samples. In a basin that is lost or strongly undersampled, they have far larger weights. The
    simulation is short: it cannot reveal regions that it does not reach, and the fractions have the stated errors.
    Equivalent atoms that a hot replica exchanged are relabelled as in the generator's domain.

    Args:
        generator: trained.
        ensemble: its samples. They give log Z, and the initial structures of the ladders, chosen by weight.
        picoseconds: recorded time of each replica, after half as much for equilibration, half of that at four times
            the temperature.
        ladders: of six temperatures each.
        seed: of the simulation.
        compile: whether to compile the simulation (half a minute; it is then several times faster).
        progress: called repeatedly while the simulation runs.

    Raises:
        OptionError: if the times are too short for a frame, or there are fewer than two ladders.
        DataError: if the samples are not at the generator's own temperature.
        TopologyError: if there are several molecules: in a simulation they would drift beyond their bounded distances.
        NonFiniteError: if more than a quarter of the ladders explode, or no sample has a positive weight.
    """
    if ladders < 2:
        raise OptionError(f"Expected at least 2 ladders for an error estimate; got {ladders}.")
    check_own_temperature(generator, ensemble)
    system, kelvin = generator.system, generator.temperature
    molecules = len(system.bond_graph.parts())
    if molecules > 1:
        raise TopologyError(
            f"Expected one molecule; got {molecules}, which would drift apart beyond the bounds of their distances."
        )
    constrained = system.openmm_system.getNumConstraints() > 0
    particles = Particles.of(system, None if constrained else _HYDROGEN_MASS)
    dynamics = Langevin(generator.potential, particles, friction=2.0, timestep=_TIMESTEP, compile=compile)
    sampler = ParallelTempering(
        dynamics,
        np.geomspace(kelvin, _HOTTEST * kelvin, _TEMPERATURES).tolist(),
        ladders,
        keep=[0],
        topology=system.mdtraj_topology,
    )
    random = torch.Generator().manual_seed(seed)
    chosen = importance.resample(torch.from_numpy(ensemble.log_weights), _TEMPERATURES * ladders, random)
    start = torch.from_numpy(ensemble.positions)[chosen[torch.randperm(len(chosen), generator=random)]]
    start = start.to(generator.like.device)
    before = generator.potential.evaluations
    options = TemperingOptions(
        picoseconds=picoseconds, equilibration=picoseconds / 2, swap_every=0.1, record_every=0.2, seed=seed
    )
    result = sampler.run(start, options, progress=progress)
    lost = int(result.lost.sum())
    if lost > ladders // 4 or ladders - lost < 2:
        raise NonFiniteError(f"Expected a stable simulation; {lost} of {ladders} ladders exploded.")
    positions = torch.from_numpy(result.positions(result.temperatures[0]))
    folded = generator.fold(positions.flatten(0, 1))
    excess = log_weights_of(generator, folded.numpy()) - ensemble.log_z.value
    ladder = np.tile(np.arange(ladders - lost), len(positions))
    missed = fraction_found(excess > math.log(UNDERSAMPLED), np.zeros(len(excess)), ladder)
    outside = fraction_found(excess == math.inf, np.zeros(len(excess)), ladder)
    expected = expected_undersampled(ensemble)
    forward_ess = importance.forward_effective_sample_size(torch.from_numpy(excess), log_z=0.0)
    found = f"an independent simulation ({ladders - lost} ladders of {picoseconds:g} ps, {len(excess):,} frames)"
    return CollapseCheck(
        missed=missed,
        expected=expected,
        outside=outside,
        forward_ess=forward_ess,
        frames=len(excess),
        ladders=ladders - lost,
        lost_ladders=lost,
        evaluations=generator.potential.evaluations - before,
        verdict=coverage_verdict(missed, outside, expected, forward_ess, ensemble.ess, found),
    )


def simulated_frames(picoseconds: float) -> int:
    """The number of energy evaluations of the check's simulation by default, equilibration included."""
    return round(1.5 * picoseconds / _TIMESTEP) * _TEMPERATURES * _LADDERS


def fraction_found(found: NDArray[np.bool_], log_weights: Array, blocks: NDArray[np.int64]) -> Estimate:
    """The fraction of equilibrium frames (n,) that are `found`, with its error from the scatter between blocks (n,).

    If none is found, the error is 3/blocks, a 95 % bound that assumes all frames of a block to be alike.
    """
    if not found.any():
        return Estimate(0.0, 3 / len(np.unique(blocks)))
    fraction, error = importance.weighted_mean(*map(torch.from_numpy, (found, log_weights, blocks)))
    return Estimate(fraction.item(), error.item())


def check_own_temperature(generator: BoltzmannGenerator, ensemble: Ensemble) -> None:
    """Raise unless the samples are at the temperature at which the generator's density is evaluated.

    Raises:
        DataError: if they are at another temperature.
    """
    if abs(ensemble.temperature - generator.temperature) > 1e-6:
        raise DataError(
            f"Expected samples at the generator's own temperature, {generator.temperature:g} K; got some at "
            f"{ensemble.temperature:g} K."
        )


def expected_undersampled(ensemble: Ensemble) -> float:
    """The undersampled fraction of the equilibrium distribution according to a generator's own samples."""
    return float(ensemble.weights[ensemble.log_weights - ensemble.log_z.value > math.log(UNDERSAMPLED)].sum())


def coverage_verdict(
    thin: Estimate, outside: Estimate, expected: float, forward_ess: float, own_ess: float, frames: str
) -> Verdict:
    """Whether a generator covers what frames of the equilibrium show.

    Args:
        thin: fraction of the frames with more than `UNDERSAMPLED` times the mean weight.
        outside: fraction of the frames outside the generator's domain, which its own samples cannot explain.
        expected: that fraction according to the generator's own samples.
        forward_ess: effective sample size according to the frames, as a fraction.
        own_ess: that of the generator's own samples.
        frames: what the frames are, for the reason.
    """
    where = f"where the generator has less than 1/{UNDERSAMPLED:g} of the right density"
    what = f"{thin.value:.2%} ± {thin.error:.2%} of {frames} lies {where}"
    if expected >= 5e-5:
        what += f", {expected:.2%} according to its own samples"
    unexplained = ((thin.value - expected, thin.error), (outside.value, outside.error))
    if any(beyond > max(_ALARM, 2 * error) for beyond, error in unexplained):
        return Verdict(Trust.DO_NOT_USE, f"a basin is lost: {what}")
    far = max(thin.value, expected)
    if far > _FAR:
        trust = Trust.DO_NOT_USE if far > _TOO_FAR else Trust.WITH_CARE
        return Verdict(trust, f"the generator is too far from the equilibrium to tell whether a basin is lost: {what}")
    # If one ladder alone finds a basin, its fraction is as large as its error: a sign, but no proof.
    is_thin = any(beyond > _ALARM or beyond > max(_CARE, 2 * error) for beyond, error in unexplained)
    if is_thin or forward_ess < own_ess / 2:
        return Verdict(
            Trust.WITH_CARE,
            f"a region is undersampled: {what}; the effective sample size is {forward_ess:.0%} according to these "
            f"frames and {own_ess:.0%} according to the generator's samples",
        )
    if thin.value == 0.0:
        if thin.error > _BLIND:
            return Verdict(Trust.WITH_CARE, f"too few independent blocks to tell: none of {frames} lies {where}")
        bound = f"{thin.error:.0%}" if thin.error >= 0.01 else f"{100 * thin.error:.1g}%"
        what = f"none of {frames} lies {where} (a basin with a population below {bound} may have been missed)"
    return Verdict(Trust.TRUST, f"no sign of a lost basin: {what}")
