"""What the weights of an ensemble tell of themselves, and whether averages over them can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from boltzflow.analysis.axes import Array, Groups, as_tensor
from boltzflow.analysis.collapse import TOO_THIN, coverage_verdict, expected_thin_share, share_found
from boltzflow.analysis.cut_off import cut_off_verdict
from boltzflow.analysis.verdict import Trust, Verdict, worst
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Estimate
from boltzflow.errors import OptionError
from boltzflow.units import thermal_energy

_SMALLEST = 32  # samples of a part whose effective sample size is worth a look
_FOLD = 8  # by how much n grows where the effective sample size is seen to fall

# Beyond the first number averages are taken with care, beyond the second they are not used.
_PARETO_K = (0.5, 0.7)  # the weights' variance is infinite; so is what it takes to average them
_LARGEST = (0.05, 0.1)  # share of one sample
_EFFECTIVE = (200.0, 50.0)  # samples or groups: errors are themselves known to 1/√(2·200) = 5 %, and 10 %
_FALL = (0.6, 0.25)  # of the effective sample size with n; less befalls one of 20 good ensembles
_NEARLY_EQUAL = 0.9  # effective samples of each: a heavy tail is no reason to refuse


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
    """Whether averages over an ensemble can be trusted, by its weights.

    Args:
        ensemble: whose weights are asked, such as a generator's samples.
        equilibrium: frames of the same temperature from a simulation, equally weighted, with `log_q` as the sampler
            has it of them (`generator.log_prob`, −inf outside its domain). They see what the sampler misses, and
            are judged as those of `check_collapse` are; frames that are not independent come in groups.

    Raises:
        OptionError: if the frames of the equilibrium come without log q, are weighted, or of another temperature.

    >>> weights = -1.5 * np.log(np.random.default_rng(0).uniform(size=1000))  # a tail without a mean
    >>> diagnose(Ensemble(np.zeros((1000, 1, 3)), np.zeros(1000), 300.0, weights)).verdict.trust.name
    'DO_NOT_USE'
    """
    log_weights = ensemble.log_weights
    is_dead = bool(np.isneginf(log_weights).all())
    log_z = Estimate(-math.inf, math.inf) if is_dead else ensemble.log_z
    verdicts = [weights_verdict(log_weights, ensemble.groups), *cut_off_verdict(ensemble)]
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


def ess_by_size(log_weights: Array) -> list[tuple[int, float]]:
    """(m, effective sample size as a fraction, its mean over parts of m samples), for m = n, n/2, n/4, … ≥ 32.

    log_weights: (n,) in the order in which the samples were drawn, or any other that does not depend on them.
    """
    n, found = len(log_weights), []
    for halvings in range(max(1, n.bit_length())):
        size = n >> halvings
        if size < _SMALLEST and halvings > 0:
            break
        parts = torch.from_numpy(log_weights[: size << halvings].reshape(-1, size))
        found.append((size, float(np.mean([importance.effective_sample_size(part) for part in parts]))))
    return found


def weights_verdict(log_weights: ArrayLike, groups: Groups = None) -> Verdict:
    """Whether averages with these log-weights (n,) can be trusted, as far as they can tell.

    Asked are the effective number of samples, the shape k̂ of the weights' tail (Vehtari et al. 2024, arXiv 1507.02646),
    the share of the largest weight, whether the effective sample size falls with n, and how many independent groups
    there are. Where nine in ten samples are effective, a heavy tail of so little weight is no reason to refuse. Weights
    know nothing of what no sample has reached.

    Equal weights in groups are those of copies, of accepted frames or of Markov chains: what the weights were that they
    were drawn by, they do not show, so that they are taken with care at best. Independent groups are counted like
    samples: with fewer than 50 averages are not to be used.

    Raises:
        ShapeError: if there is not one group for each weight.
        OptionError: if groups are not whole numbers.

    >>> print(weights_verdict([0.0, -20.0, -np.inf]).trust.name)
    DO_NOT_USE
    """
    return worst(_verdicts(np.asarray(log_weights, np.float64), groups))


def _verdicts(log_weights: Array, groups: Groups) -> Iterator[Verdict]:
    logs, n, zero = torch.from_numpy(log_weights), len(log_weights), int(np.isneginf(log_weights).sum())
    if zero == n:
        yield Verdict(Trust.DO_NOT_USE, f"none of {n:,} samples has a positive weight")
        return
    share, k = importance.effective_sample_size(logs), importance.pareto_shape(logs)
    weights = importance.normalized_weights(logs).numpy()
    largest, effective = weights.max(), share * n
    summary = f"{effective:,.0f} effective samples of {n:,}"
    if groups is not None:
        independent = importance.effective_groups(logs, as_tensor(groups))
        summary += f" in {independent:,.0f} independent groups"
    if groups is not None and largest * (n - zero) < 1.0 + 1e-9:
        reason = "samples of equal weight in groups: ask the ensemble that they were drawn from"
        yield Verdict(Trust.WITH_CARE, reason)
    if largest * n < 1.0 + 1e-9:
        yield Verdict(Trust.TRUST, f"{n:,} samples of equal weight, which says nothing of where they come from")
    else:
        yield Verdict(Trust.TRUST, f"{summary}, Pareto k̂ {k:.2f}; weights do not show what is never drawn")
    care, no_use = _pareto_limits(n)
    limits = (care, math.inf if share >= _NEARLY_EQUAL else no_use)
    yield from _above(k, limits, f"the weights have a heavy tail (Pareto k̂ {k:.2f})")
    yield from _above(largest, _LARGEST, f"one sample has {largest:.0%} of the weight")
    yield from _below(effective, _EFFECTIVE, f"there are only {summary}")
    sizes = dict(ess_by_size(log_weights))
    if there := sizes.get(part := n // _FOLD):  # 0: all weight is in what the parts leave out
        here = sizes[n]
        fall = f"the effective sample size falls with n, from {there:.2%} of {part:,} samples to {here:.2%} of {n:,}"
        yield from _below(here / there, _FALL, fall)
    if groups is not None:
        yield from _below(independent, _EFFECTIVE, f"the samples make up only {independent:.0f} independent groups")


def _pareto_limits(n: int) -> tuple[float, float]:
    """Vehtari et al. (2024): so many samples are enough for averages up to a shape of min(1 − 1/log₁₀ n, 0.7)."""
    care, no_use = _PARETO_K
    enough = 1.0 - 1.0 / math.log10(max(n, 11))
    return min(care, enough), min(no_use, enough)


def _above(value: float, limits: tuple[float, float], reason: str) -> Iterator[Verdict]:
    care, no_use = limits
    if value > care:
        yield Verdict(Trust.DO_NOT_USE if value > no_use else Trust.WITH_CARE, reason)


def _below(value: float, limits: tuple[float, float], reason: str) -> Iterator[Verdict]:
    care, no_use = limits
    yield from _above(-value, (-care, -no_use), reason)


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
        raise OptionError(f"Expected equally weighted frames of the equilibrium with log q; got some {what}.")
    if not math.isclose(frames.temperature, temperature, rel_tol=1e-6):
        raise OptionError(f"Expected frames of the equilibrium at {temperature:g} K; got {frames.temperature:g} K.")
    return -frames.energies / thermal_energy(temperature) - frames.log_q
