"""Whether a generator has lost a part of the equilibrium, found out without simulation data of anybody's."""

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

TOO_THIN = 100.0
"""A structure counts as missed where its weight is so many times the mean one."""

_ALARM, _CARE = 0.01, 0.001  # shares of the equilibrium that are missed
_BLIND = 0.5  # a bound on what may be missed that says nothing
_HOTTEST = 4.0  # times the generator's temperature
_TEMPERATURES = 6
_HYDROGEN_MASS = 3.0  # dalton


@dataclass(frozen=True)
class CollapseCheck:
    """What an independent simulation has found where the generator hardly goes.

    Attributes:
        missed: share of the equilibrium, as the simulation sees it, with more than `TOO_THIN` times the mean weight,
            or outside the coordinates' domain; its error from independent ladders. Where it is zero the error is
            3/ladders, a bound at 95 % for frames of a ladder that are all alike.
        expected: the same share as the generator's own samples see it: what a low effective sample size explains.
        outside: share outside the domain alone.
        forward_ess: the effective sample size that importance sampling has by the simulation's frames, 1/⟨w⟩ with the
            mean weight 1; unlike the one from the generator's own samples it sees what they miss.
        frames: of the simulation, at the generator's temperature.
        ladders: independent ones.
        lost_ladders: that exploded, and are left out.
        evaluations: of the energy.
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
    ladders: int = 32,
    seed: int = 0,
    compile: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> CollapseCheck:
    """Parallel tempering from the generator's samples, whose hot replicas cross barriers, against the generator.

    Its frames at the generator's temperature should have weights p/q like those of the generator's own samples. Where
    a basin is lost, or covered far too thinly, they have weights that those samples never show. The simulation is
    short: what it does not reach in its time remains unseen, and shares have the errors stated.

    Args:
        generator: trained.
        ensemble: its samples: where ladders begin, drawn by their weights, and log Z.
        picoseconds: recorded time of each replica, after half as much for equilibration, half of that at four times
            the temperature.
        ladders: of six temperatures each.
        seed: of the simulation.
        compile: whether to compile it (half a minute, then it is several times faster).
        progress: called now and then.

    Raises:
        OptionError: if the times are too short for a frame, or there are fewer than two ladders.
        DataError: if the samples are for another temperature than the generator's own.
        TopologyError: if there are several molecules, whose bounded distances a simulation would leave.
        NonFiniteError: if more than a quarter of the ladders explode, or no sample has a positive weight.
    """
    if ladders < 2:
        raise OptionError(f"Expected at least 2 ladders, for an error; got {ladders}.")
    check_own_temperature(generator, ensemble)
    system, kelvin = generator.system, generator.temperature
    molecules = len(system.bond_graph.parts())
    if molecules > 1:
        raise TopologyError(
            f"Expected one molecule; {molecules} would drift apart, beyond the bounds of their distance."
        )
    constrained = system.openmm_system.getNumConstraints() > 0
    particles = Particles.of(system, None if constrained else _HYDROGEN_MASS)
    dynamics = Langevin(generator.potential, particles, friction=2.0, timestep=0.002, compile=compile)
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
        raise NonFiniteError(f"Expected a simulation that holds; {lost} of {ladders} ladders have exploded.")
    positions = torch.from_numpy(result.positions(result.temperatures[0]))
    excess = log_weights_of(generator, positions.flatten(0, 1).numpy()) - ensemble.log_z.value
    ladder = np.tile(np.arange(ladders - lost), len(positions))
    missed = share_found(excess > math.log(TOO_THIN), np.zeros(len(excess)), ladder)
    expected = expected_thin_share(ensemble)
    forward_ess = importance.forward_effective_sample_size(torch.from_numpy(excess), log_z=0.0)
    found = f"an independent simulation ({ladders - lost} ladders of {picoseconds:g} ps, {len(excess):,} frames)"
    return CollapseCheck(
        missed=missed,
        expected=expected,
        outside=share_found(excess == math.inf, np.zeros(len(excess)), ladder),
        forward_ess=forward_ess,
        frames=len(excess),
        ladders=ladders - lost,
        lost_ladders=lost,
        evaluations=generator.potential.evaluations - before,
        verdict=coverage_verdict(missed, expected, forward_ess, ensemble.ess, found),
    )


def share_found(found: NDArray[np.bool_], log_weights: Array, pieces: NDArray[np.int64]) -> Estimate:
    """The share of frames (n,) of the equilibrium, with its error from the scatter between independent pieces (n,).

    Where nothing is found the error is 3/pieces, a bound at 95 % for frames of a piece that are all alike.
    """
    if not found.any():
        return Estimate(0.0, 3 / len(np.unique(pieces)))
    share, error = importance.weighted_mean(*map(torch.from_numpy, (found, log_weights, pieces)))
    return Estimate(share.item(), error.item())


def check_own_temperature(generator: BoltzmannGenerator, ensemble: Ensemble) -> None:
    """Raise unless samples are for the temperature that a generator's density is evaluated at.

    Raises:
        DataError: if they are for another one.
    """
    if abs(ensemble.temperature - generator.temperature) > 1e-6:
        raise DataError(
            f"Expected samples at the generator's own temperature, {generator.temperature:g} K; got some at "
            f"{ensemble.temperature:g} K."
        )


def expected_thin_share(ensemble: Ensemble) -> float:
    """The share of the equilibrium with more than `TOO_THIN` times the mean weight, by a generator's own samples."""
    return float(ensemble.weights[ensemble.log_weights - ensemble.log_z.value > math.log(TOO_THIN)].sum())


def coverage_verdict(thin: Estimate, expected: float, forward_ess: float, own_ess: float, frames: str) -> Verdict:
    """Whether a generator covers what frames of the equilibrium show.

    Args:
        thin: share of the frames with more than `TOO_THIN` times the mean weight.
        expected: that share by the generator's own samples.
        forward_ess: effective sample size by the frames.
        own_ess: by the generator's own samples.
        frames: what they are, for the reason.
    """
    where = f"where the generator has less than 1/{TOO_THIN:g} of the right density"
    what = f"{thin.value:.2%} ± {thin.error:.2%} of {frames} lies {where}"
    if expected >= 5e-5:
        what += f", {expected:.2%} by its own samples"
    beyond = thin.value - expected
    is_significant = beyond > 2 * thin.error
    if beyond > _ALARM and is_significant:
        return Verdict(Trust.DO_NOT_USE, f"a basin is lost: {what}")
    # One ladder that has found a basin has an error as large as its share: that is a sign, if not proof.
    if beyond > _ALARM or (beyond > _CARE and is_significant) or forward_ess < own_ess / 2:
        return Verdict(
            Trust.WITH_CARE,
            f"something is covered too thinly: {what}; the effective sample size is {forward_ess:.0%} by its frames "
            f"and {own_ess:.0%} by the generator's samples",
        )
    if thin.value == 0.0:
        if thin.error > _BLIND:
            return Verdict(Trust.WITH_CARE, f"too few independent pieces to tell: nothing of {frames} lies {where}")
        bound = f"{thin.error:.0%}" if thin.error >= 0.01 else f"{100 * thin.error:.1g}%"
        what = f"nothing of {frames} lies {where} (a basin of less than {bound} may not have been met)"
    return Verdict(Trust.TRUST, f"no sign of a lost basin: {what}")
