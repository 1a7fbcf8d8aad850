"""Diagnostics of an ensemble's weights, and whether averages with them can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from boltzflow.analysis.checks.collapse import UNDERSAMPLED, coverage_verdict, expected_undersampled, fraction_found
from boltzflow.analysis.cut_off import cut_off_verdict
from boltzflow.analysis.free_energies.thermodynamics import heat_capacity
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError
from boltzflow.estimate import Estimate
from boltzflow.trust import ess_by_size
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust, Verdict, worst


@dataclass(frozen=True)
class WeightDiagnostics:
    """Diagnostics of the weights of an ensemble.

    Attributes:
        frames: the number of samples n.
        failed: number of samples whose energy could not be evaluated; they have weight zero.
        ess: Kish's effective sample size as a fraction of n; never clipped.
        ess_clipped: the same with the top 1e-4 of weights clipped, for comparison with others' numbers.
        ess_by_size: (m, its mean over parts of m samples each), for m = n, n/2, n/4, … in descending order. If it falls
            as m grows, the tail is heavy: larger weights are still to be expected.
        perplexity: exp of the weights' entropy, as a fraction of n.
        largest_weight: the largest weight as a fraction of the sum of all weights.
        pareto_k: shape of the weights' tail; NaN with fewer than 25 positive weights.
        log_z: log of the mean weight and its error.
        forward_ess: the effective sample size according to equilibrium frames, as a fraction; None without them.
        verdict: whether averages can be trusted, as far as weights can tell: they cannot reveal regions that are never
            sampled.
    """

    frames: int
    failed: int
    ess: float
    ess_clipped: float
    ess_by_size: list[tuple[int, float]]
    perplexity: float
    largest_weight: float
    pareto_k: float
    log_z: Estimate
    forward_ess: float | None
    verdict: Verdict


def diagnose(ensemble: Ensemble, equilibrium: Ensemble | None = None) -> WeightDiagnostics:
    """Whether averages over an ensemble can be trusted, judged by its weights and by averages of the energy.

    A verdict belongs to an average. This one covers the weights, log Z, the mean energy and its fluctuations, which
    depend most strongly on the weights. For any other average see `Estimate.verdict`.

    Args:
        ensemble: weighted frames, such as a generator's samples.
        equilibrium: equally weighted simulation frames at the same temperature, with their `log_q` under the sampler
            (`generator.log_prob`, −inf outside its domain). They reveal regions that the sampler misses, and are judged
            as in `check_collapse`. Frames that are not independent need `groups`.

    Raises:
        DataError: if the equilibrium frames have no log q, are weighted, or are at another temperature.

    >>> weights = -1.5 * np.log(np.random.default_rng(0).uniform(size=1000))  # a tail without a mean
    >>> diagnose(Ensemble(np.zeros((1000, 1, 3)), np.zeros(1000), 300.0, weights)).verdict.trust.name
    'DO_NOT_USE'
    """
    log_weights = ensemble.log_weights
    is_dead = bool(np.isneginf(log_weights).all())
    log_z = Estimate(-math.inf, math.inf) if is_dead else ensemble.log_z
    verdicts = [ensemble.sample_weights.verdict, *cut_off_verdict(ensemble)]
    if not is_dead:
        verdicts += _energy_verdicts(ensemble)
    forward_ess = None
    if equilibrium is not None:
        excess = _equilibrium_log_weights(equilibrium, ensemble.temperature) - log_z.value
        forward_ess = importance.forward_effective_sample_size(torch.from_numpy(excess), log_z=0.0)
        if not is_dead:
            verdicts.append(_coverage(excess, equilibrium, forward_ess, ensemble))
    return WeightDiagnostics(
        frames=len(ensemble),
        failed=ensemble.failed,
        ess=ensemble.ess,
        ess_clipped=ensemble.ess_clipped(),
        ess_by_size=ess_by_size(log_weights),
        perplexity=0.0 if is_dead else ensemble.perplexity,
        largest_weight=0.0 if is_dead else ensemble.largest_weight,
        pareto_k=ensemble.pareto_k,
        log_z=log_z,
        forward_ess=forward_ess,
        verdict=worst(verdicts),
    )


def _energy_verdicts(ensemble: Ensemble) -> Iterator[Verdict]:
    """Verdicts on the contributions to log Z, the mean energy and its fluctuations: "with care" at worst."""
    named = {"log Z": ensemble.log_z}
    if ensemble.has_energies:
        named |= {"the mean energy": ensemble.mean(ensemble.energies), "the heat capacity": heat_capacity(ensemble)}
    for name, estimate in named.items():
        if estimate.law is not None and (found := estimate.law.own_verdict).trust > Trust.TRUST:
            yield Verdict(Trust.WITH_CARE, f"{name}: {found.reason}")


def _coverage(excess: Array, frames: Ensemble, forward_ess: float, ensemble: Ensemble) -> Verdict:
    """The verdict on the sampler from equilibrium frames whose weights are exp(excess) times the mean."""
    blocks = np.arange(len(frames)) if frames.groups is None else frames.groups
    thin, outside = (
        fraction_found(found, frames.log_weights, blocks)
        for found in (excess > math.log(UNDERSAMPLED), excess == math.inf)
    )
    what = f"{len(frames):,} equilibrium frames"
    return coverage_verdict(thin, outside, expected_undersampled(ensemble), forward_ess, ensemble.ess, what)


def _equilibrium_log_weights(frames: Ensemble, temperature: float) -> Array:
    """log p̃ − log q (m,) of frames of p: +inf outside the sampler's domain."""
    if frames.log_q is None or frames.failed or np.ptp(frames.log_weights) > 0:
        what = "without log q" if frames.log_q is None else "that failed or are weighted"
        raise DataError(f"Expected equally weighted equilibrium frames with log q; got frames {what}.")
    if not math.isclose(frames.temperature, temperature, rel_tol=1e-6):
        raise DataError(f"Expected equilibrium frames at {temperature:g} K; got {frames.temperature:g} K.")
    return -frames.energies_for("`diagnose` with equilibrium frames") / thermal_energy(temperature) - frames.log_q
