"""Populations of regions and of sets of states from weighted samples, with errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.axes import collective_variable
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import OptionError, ShapeError
from boltzflow.handover import optional
from boltzflow.trust import AverageLaw
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust, Verdict, worst

Mask = NDArray[np.bool_]

_ENOUGH, _TOO_FEW = (
    20.0,
    5.0,
)  # effective frames on either side: two-error intervals hold in 9 of 10 cases


@dataclass(frozen=True)
class Population:
    """The population of a region, and the samples that it is based on.

    Attributes:
        value: population between 0 and 1.
        error: its standard error (delta method); if no sample or every sample is inside, the weight of one effective
            sample.
        free_energy: of the region relative to the rest, −kT log(p / (1 − p)), kJ/mol; None if one of them is empty.
        free_energy_error: its standard error, kJ/mol.
        frames: the number of samples inside.
        effective_frames: effective number of samples inside, (Σs)² / Σs², where s is the weight of a sample, or of a
            group's samples inside. With fewer than about 20 the error cannot be trusted.
        effective_rest: the same for the samples outside.
        law: describes the error.
    """

    value: float
    error: float
    free_energy: float | None
    free_energy_error: float | None
    frames: int
    effective_frames: float
    effective_rest: float
    law: AverageLaw = field(repr=False, compare=False)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The ends of a confidence interval, between 0 and 1; asymmetric if few frames lie on one side."""
        return self.law.ends(self.value, level)

    def row(self) -> dict[str, Any]:
        """Plain numbers and a text for a table: population, error, 95 % interval, frames, verdict."""
        low, high = self.interval()
        return {
            **{"population": self.value, "population_error": self.error},
            **{"population_low": low, "population_high": high},
            **{"frames": self.frames, "effective_frames": self.effective_frames, "verdict": str(self.verdict)},
        }

    @property
    def verdict(self) -> Verdict:
        """Whether the weights support it, and whether there are enough effective frames on both sides."""
        return worst([self.law.weights.verdict, self._sides])

    @property
    def _sides(self) -> Verdict:
        least, where = min((self.effective_frames, "inside"), (self.effective_rest, "outside"))
        if least == 0.0:
            bound = f"a population below about {3 * self.error:.2g} would not be detected"
            return Verdict(Trust.DO_NOT_USE, f"no frame lies {where}: {bound}")
        if least >= _ENOUGH and (own := self.law.own_verdict).trust > Trust.TRUST:
            return own
        trust = Trust.TRUST if least >= _ENOUGH else Trust.WITH_CARE if least >= _TOO_FEW else Trust.DO_NOT_USE
        return Verdict(trust, f"{least:.3g} effective frames lie {where}")


@dataclass(frozen=True)
class States:
    """Populations of named states and the free energies between them.

    Attributes:
        populations: by the names of the states.
        covariance: of the errors of the K populations, (K, K).
        differences: [a, b] is F_b − F_a = −kT log(p_b / p_a) in kJ/mol, (K, K); NaN if one of them is empty.
        errors: their standard errors in kJ/mol (delta method, with the covariance), NaN likewise.
        unassigned: weighted fraction of frames in none of the states.
        overlap: weighted fraction of frames in more than one.
    """

    populations: dict[str, Population]
    covariance: Array
    differences: Array
    errors: Array
    unassigned: float
    overlap: float

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the states."""
        found = {name: population.verdict for name, population in self.populations.items()}
        return worst(Verdict(verdict.trust, f"{name}: {verdict.reason}") for name, verdict in found.items())

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row for each state, by its name.

        population, its error and the ends of its 95 % interval, frames, effective_frames and verdict.

        Raises:
            MissingDependencyError: if pandas is not installed (the extra "interop").
        """
        pandas = optional("pandas", "`States.to_pandas`")
        rows = {name: population.row() for name, population in self.populations.items()}
        return pandas.DataFrame.from_dict(rows, orient="index")


def arc(angle: Array, low: float, high: float) -> Mask:
    """Which angles (n,) lie in low ≤ angle < high on the circle, in rad; an arc with low > high crosses ±π.

    Combine arcs of several angles with `&` and `|`.

    >>> arc(np.array([-3.0, 0.0, 3.0]), 2.5, -2.5)
    array([ True, False,  True])
    """
    if high - low >= 2 * np.pi:
        return np.full(np.shape(angle), True)
    inside: Mask = np.mod(angle - low, 2 * np.pi) < np.mod(high - low, 2 * np.pi)
    return inside


def population(ensemble: Ensemble, values: Observable, low: float, high: float) -> Population:
    """The population of low ≤ angle < high on the circle; an arc with low > high crosses ±π.

    Args:
        ensemble: n frames, with their weights, temperature and groups.
        values: the angle in rad, as in `Ensemble.mean`: a function of the trajectory, or (n,).
        low, high: in rad.

    Raises:
        ShapeError: if there is not one angle for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has an angle that is not finite.

    >>> ensemble = Ensemble(np.zeros((4, 1, 3)), np.zeros(4), 300.0)
    >>> population(ensemble, [-1.0, 0.5, 1.0, 3.0], 0.0, 2.2).value
    0.5
    """
    return population_of(ensemble, arc(collective_variable(ensemble, values), low, high))


def population_of(ensemble: Ensemble, mask: Mask) -> Population:
    """The population of any region.

    Args:
        ensemble: n frames, with their weights, temperature and groups.
        mask: (n,) booleans, whether each frame lies in the region.

    Raises:
        ShapeError: if there is not one boolean for each frame.
        NonFiniteError: if no weight is positive.

    >>> found = population_of(Ensemble(np.zeros((100, 1, 3)), np.zeros(100), 300.0), np.arange(100) < 25)
    >>> print(f"{found.value:.2f} ± {found.error:.2f}; {found.verdict}")
    0.25 ± 0.04; With care: there are only 100 effective samples of 100.
    """
    region, (logs, members) = torch.from_numpy(_checked(ensemble, mask)), ensemble.weighting
    share, error = (number.item() for number in importance.weighted_mean(region, logs, members))
    used = importance.normalized_weights(logs) > 0
    kt = thermal_energy(ensemble.temperature)
    split = 0.0 < share < 1.0
    return Population(
        value=share,
        error=error,
        free_energy=-kt * math.log(share / (1 - share)) if split else None,
        free_energy_error=kt * error / (share * (1 - share)) if split else None,
        frames=int((region & used).sum()),
        effective_frames=_effective_frames(region & used, logs, members),
        effective_rest=_effective_frames(~region & used, logs, members),
        law=ensemble.law_of_mean(region),
    )


def state_populations(ensemble: Ensemble, states: Mapping[str, Mask]) -> States:
    """The populations of named states and the free energies between them, with all correlations of their errors.

    States may overlap, and frames may belong to no state.

    Args:
        ensemble: n frames, with their weights, temperature and groups.
        states: for each state booleans (n,), whether each frame lies in it.

    Raises:
        OptionError: if there is no state.
        ShapeError: if there is not one boolean for each frame.
        NonFiniteError: if no weight is positive.

    >>> x = np.arange(90)
    >>> ensemble = Ensemble(np.zeros((90, 1, 3)), np.zeros(90), 300.0)
    >>> found = state_populations(ensemble, {"left": x < 60, "right": x >= 60})
    >>> print(f"{found.differences[0, 1]:.2f} ± {found.errors[0, 1]:.2f} kJ/mol")  # kT log 2
    1.73 ± 0.56 kJ/mol
    """
    if not states:
        raise OptionError("Expected at least one state; got none.")
    masks = np.stack([_checked(ensemble, mask) for mask in states.values()], 1)
    kt = thermal_energy(ensemble.temperature)
    populations = {name: population_of(ensemble, mask) for name, mask in states.items()}
    covariance: Array = importance.weighted_covariance(torch.from_numpy(masks), *ensemble.weighting).numpy()
    known = np.array([p.frames > 0 for p in populations.values()])
    shares = np.where(known, [p.value for p in populations.values()], np.nan)
    relative = covariance / np.outer(shares, shares)  # of log p
    with np.errstate(invalid="ignore"):  # the variance of a single group is unknown
        variance = relative.diagonal()[:, None] + relative.diagonal() - 2 * relative
    variance = np.where(np.isinf(relative), np.inf, variance)
    counts = masks.sum(1)
    weights = ensemble.weights
    return States(
        populations=populations,
        covariance=covariance,
        differences=-kt * (np.log(shares) - np.log(shares)[:, None]),
        errors=kt * np.sqrt(variance.clip(min=0.0)),
        unassigned=float(weights[counts == 0].sum()),
        overlap=float(weights[counts > 1].sum()),
    )


def _checked(ensemble: Ensemble, mask: Mask) -> Mask:
    found, n = np.asarray(mask), len(ensemble)
    if found.dtype != np.bool_ or found.shape != (n,):
        raise ShapeError(f"Expected one boolean for each of {n} frames; got {found.dtype} of shape {found.shape}.")
    return found


def _effective_frames(some: torch.Tensor, log_weights: torch.Tensor, groups: torch.Tensor | None) -> float:
    """The effective number of samples among `some` (n,)."""
    if not some.any():
        return 0.0
    return importance.effective_groups(log_weights[some], None if groups is None else groups[some])
