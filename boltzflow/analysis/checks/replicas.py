"""Whether trainings that differ only in their seeds have learned the same equilibrium distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import chi2, norm

from boltzflow.analysis.estimates.basins import POSITIVE_PHI, positive_phi
from boltzflow.analysis.estimates.observables import backbone_torsions
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError
from boltzflow.estimate import Estimate
from boltzflow.verdict import Trust, Verdict, worst

_ALARM, _CARE = 1e-4, 1e-2  # probabilities that errors alone cause such differences
_BLIND = 0.05  # a loss that would not be detected: agreement then means little


@dataclass(frozen=True)
class ReplicaCheck:
    """How well the replicas of a training agree.

    Attributes:
        log_z: of each replica.
        shares: populations of 0 < φ < 2.2 rad by residue, one for each replica.
        p_value: probability that errors alone cause differences as large as those between the replicas: that of the
            observable that agrees worst, times the number of observables.
        detectable: log Z reveals, with a probability of 95 %, a basin that one replica has lost and another has not, if
            its population exceeds this value.
        verdict: whether the replicas agree, a loss of more than 5 % would have been detected, and the weights can be
            used.
    """

    log_z: list[Estimate]
    shares: dict[str, list[Estimate]]
    p_value: float
    detectable: float
    verdict: Verdict


def compare_replicas(
    ensembles: Sequence[Ensemble], low: float = POSITIVE_PHI[0], high: float = POSITIVE_PHI[1]
) -> ReplicaCheck:
    """Compare log Z and the populations of low < φ < high (rad) between generators trained with different seeds.

    A generator that has lost a basin of population p finds log Z + log(1 − p). A basin that all replicas have lost is
    not detected; `check_collapse` looks for those.

    Args:
        ensembles: one for each replica, of the same molecule at the same temperature.
        low, high: bounds of the rare basin of each φ, rad.

    Raises:
        DataError: if there are fewer than two ensembles, they differ in temperature or number of atoms, two hold the
            same frames, or the weights of one are not `absolute` (such as those of a simulation or of resampled
            frames), so that its log Z is not known.
        NonFiniteError: if no weight of one is positive.
    """
    kinds = {(round(e.temperature, 6), e.positions.shape[1]) for e in ensembles}
    if len(ensembles) < 2 or len(kinds) > 1:
        raise DataError(
            f"Expected at least two ensembles of one molecule at one temperature; got {len(ensembles)} of "
            f"{', '.join(f'{atoms} atoms at {kelvin:g} K' for kelvin, atoms in sorted(kinds))}."
        )
    for number, ensemble in enumerate(ensembles, 1):
        if not ensemble.absolute:
            raise DataError(
                f"Expected generators' samples with absolute weights; those of ensemble {number} are known only up to "
                "a factor, so its log Z is not known."
            )
    _check_distinct(ensembles)
    log_z = [ensemble.log_z for ensemble in ensembles]
    shares: dict[str, list[Estimate]] = {}
    for ensemble in ensembles:
        used = ensemble[ensemble.weights > 0]
        torsions = backbone_torsions(used.to_mdtraj()) if used.topology is not None else []
        for residue, found in positive_phi(used, torsions, low, high).items():
            shares.setdefault(residue, []).append(Estimate(found.value, found.error))
    chances = [_chance(values) for values in (log_z, *shares.values())]
    p_value = min(1.0, min(chances) * len(chances))
    # The first term is the threshold in standard errors; with the second it is exceeded 19 times in 20.
    sigmas = norm.isf(_CARE / (2 * len(chances))) + norm.isf(0.05)
    errors = sorted(estimate.error for estimate in log_z)
    detectable = 1.0 - math.exp(-sigmas * math.hypot(errors[-1], errors[-2]))
    values = [estimate.value for estimate in log_z]
    span = (
        f"log Z of {len(log_z)} trainings agrees within {max(values) - min(values):.4f} (errors up to {errors[-1]:.4f})"
    )
    if p_value < _ALARM:
        where = "log Z" if chances[0] == min(chances) else "populations of the rare basin"
        reason = f"trainings with different seeds disagree in their {where} (p = {p_value:.1g}); {span}"
        verdict = Verdict(Trust.DO_NOT_USE, reason)
    elif p_value < _CARE:
        verdict = Verdict(Trust.WITH_CARE, f"trainings with different seeds agree poorly (p = {p_value:.1g}); {span}")
    else:
        reason = (
            f"trainings with different seeds agree (p = {p_value:.2g}); {span}; a basin that only one of them has lost "
            f"has a population below {detectable:.2%}"
        )
        verdict = Verdict(Trust.WITH_CARE if detectable > _BLIND else Trust.TRUST, reason)
    return ReplicaCheck(log_z, shares, p_value, detectable, worst([verdict, *_unusable(ensembles)]))


def _check_distinct(ensembles: Sequence[Ensemble]) -> None:
    """Raise unless the ensembles hold different samples: independent ones have no frame in common."""
    for (i, one), (j, other) in combinations(enumerate(map(_fingerprints, ensembles), 1), 2):
        if len(one & other) > min(len(one), len(other)) / 2:
            raise DataError(f"Expected ensembles of different trainings; ensembles {i} and {j} hold the same frames.")


def _fingerprints(ensemble: Ensemble) -> set[int]:
    """Fingerprints of the frames, to the precision of a DCD file: weights, and positions to 1e-4 nm."""
    rows = (np.round(ensemble.positions, 4) + 0.0).reshape(len(ensemble), -1)  # no −0
    return {hash((weight, row.tobytes())) for weight, row in zip(ensemble.log_weights.tolist(), rows, strict=True)}


def _unusable(ensembles: Sequence[Ensemble]) -> Iterator[Verdict]:
    """Weights that cannot be used: their errors are too small for a comparison."""
    for number, ensemble in enumerate(ensembles, 1):
        found = ensemble.sample_weights.verdict
        if found.trust is Trust.DO_NOT_USE:
            yield Verdict(found.trust, f"weights of training {number}: {found.reason}")


def _chance(estimates: Sequence[Estimate]) -> float:
    """p-value of χ² about the weighted mean."""
    values, errors = np.array([(e.value, e.error) for e in estimates]).T
    weights = 1.0 / np.maximum(errors, 1e-12) ** 2
    mean = (weights * values).sum() / weights.sum()
    return float(chi2.sf((weights * (values - mean) ** 2).sum(), len(values) - 1))
