"""What the weights of an ensemble tell of themselves, and whether averages over them can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from boltzflow.analysis.checks.collapse import TOO_THIN, coverage_verdict, expected_thin_share, share_found
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
    """What the weights of an ensemble tell of themselves.

    Attributes:
        frames: the number of samples n.
        failed: those whose energy could not be evaluated; they have weight zero.
        ess: Kish's effective sample size as a fraction of n; never clipped.
        ess_clipped: the same with the top 1e-4 of weights clipped, for comparison with others' numbers.
        ess_by_size: (m, its mean over parts of m samples each), for m = n, n/2, n/4, … in descending order. One that
            falls as m grows shows a heavy tail: the largest weights are yet to come.
        perplexity: exp of the weights' entropy, as a fraction of n.
        largest_weight: the share of the largest weight in the sum of all.
        pareto_k: shape of the weights' tail; NaN with fewer than 25 positive weights.
        log_z: log of the mean weight and its error.
        forward_ess: the effective sample size by frames of the equilibrium; None without them.
        verdict: whether averages can be trusted, as far as weights can tell: what the sampler never draws, they do
            not show.
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
    """Whether averages over an ensemble can be trusted, by its weights and the energy's own averages.

    A verdict belongs to an average: this one is that of the weights, of log Z, of the mean energy and of its
    fluctuations, which follow the weights most closely. `Estimate.verdict` is that of any other average.

    Args:
        ensemble: whose weights are asked, such as a generator's samples.
        equilibrium: frames of the same temperature from a simulation, equally weighted, with `log_q` as the sampler
            has it of them (`generator.log_prob`, −inf outside its domain). They see what the sampler misses, and
            are judged as those of `check_collapse` are; frames that are not independent come in groups.

    Raises:
        DataError: if the frames of the equilibrium come without log q, are weighted, or of another temperature.

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
    """What the contributions to log Z, to the mean energy and to its fluctuations say: with care at worst."""
    named = {"log Z": ensemble.log_z}
    if ensemble.has_energies:
        named |= {"the mean energy": ensemble.mean(ensemble.energies), "the heat capacity": heat_capacity(ensemble)}
    for name, estimate in named.items():
        if estimate.law is not None and (found := estimate.law.own_verdict).trust > Trust.TRUST:
            yield Verdict(Trust.WITH_CARE, f"{name}: {found.reason}")


def _coverage(excess: Array, frames: Ensemble, forward_ess: float, ensemble: Ensemble) -> Verdict:
    """What frames of the equilibrium with weights of exp(excess) times the mean one say of the sampler."""
    pieces = np.arange(len(frames)) if frames.groups is None else frames.groups
    thin = share_found(excess > math.log(TOO_THIN), frames.log_weights, pieces)
    found = f"{len(frames):,} frames of the equilibrium"
    return coverage_verdict(thin, expected_thin_share(ensemble), forward_ess, ensemble.ess, found)


def _equilibrium_log_weights(frames: Ensemble, temperature: float) -> Array:
    """log p̃ − log q (m,) of frames of p: +inf where the sampler never goes."""
    if frames.log_q is None or frames.failed or np.ptp(frames.log_weights) > 0:
        what = "without log q" if frames.log_q is None else "that have failed, or are weighted"
        raise DataError(f"Expected equally weighted frames of the equilibrium with log q; got some {what}.")
    if not math.isclose(frames.temperature, temperature, rel_tol=1e-6):
        raise DataError(f"Expected frames of the equilibrium at {temperature:g} K; got {frames.temperature:g} K.")
    return -frames.energies_for("`diagnose` by frames of the equilibrium") / thermal_energy(temperature) - frames.log_q
