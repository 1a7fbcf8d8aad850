"""Free-energy differences between any states, from samples of some of them, by MBAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from boltzflow.analysis.estimates.correlation import statistical_inefficiency
from boltzflow.analysis.weighting.states import BoltzmannState, Frames, GeneratorState, State, reduced_energies
from boltzflow.arrays import Array
from boltzflow.core.contributions import Contributions
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.estimate import Estimate
from boltzflow.mbar import solve_mbar
from boltzflow.trust import AverageLaw, Observed, SampleWeights
from boltzflow.units import checked_temperature, thermal_energy
from boltzflow.verdict import Trust, Verdict, worst

_POOR_OVERLAP = 0.03  # Klimovich, Shirts & Mobley 2015, DOI 10.1007/s10822-015-9840-9
_FEW_SHARED = 10.0  # samples
_CORRELATED = 2.0  # statistical inefficiency
_APART, _FAR_APART = 3.0, 4.0  # standard errors between densities that are both normalised


@dataclass(frozen=True, eq=False)
class FreeEnergyDifferences:
    """Differences of the reduced free energies f = −log Z of K states.

    Attributes:
        names: of the states.
        temperatures: (K,) in K.
        values: (K, K) in kT: f of the column's state minus f of the row's.
        errors: (K, K) standard errors in kT for independent samples; inf where states do not overlap.
        overlap: (K, K), the probability that a sample of the row's state belongs to the column's state; rows sum to 1
            (Klimovich, Shirts & Mobley 2015, DOI 10.1007/s10822-015-9840-9). Columns of states without samples are 0.
        counts: (K,) number of samples of each state.
        effective: (K,) effective number of samples for each state, from all samples together.
        log_weights: (K, N) normalised log-weights of all samples in each state; samples are in the order of states.
        changes: (K, N) contribution of each sample to the deviation of f of each state, up to a constant for each
            sample.
        normalised: indices of the states whose log Z is known to be 0, the densities of generators.
        converged: whether the MBAR equations are solved.
        verdict: the worst verdict on overlap, extrapolation, correlation, convergence, and the contributions of samples
            to the differences from the first state.
    """

    names: tuple[str, ...]
    temperatures: Array
    values: Array
    errors: Array
    overlap: Array
    counts: NDArray[np.int64]
    effective: Array
    log_weights: Array = field(repr=False)
    changes: Array = field(repr=False)
    normalised: tuple[int, ...]
    converged: bool
    verdict: Verdict

    def between(self, first: str, second: str) -> Estimate:
        """f of the second state minus f of the first, in kT, with the verdict on this difference.

        Raises:
            OptionError: if a state does not exist.
        """
        i, j = self._index(first), self._index(second)
        error = float(self.errors[i, j])
        own = _law(self.changes, self.log_weights, self.counts, i, j)
        return Estimate(float(self.values[i, j]), error, _DifferenceLaw(own, error, self.verdict))

    @property
    def kj_per_mol(self) -> Estimate:
        """F of the column's state minus F of the row's, F = −kT log Z with each state's own T; (K, K), kJ/mol.

        Raises:
            OptionError: if temperatures differ and no state is normalised: F then contains an unknown constant times T.
        """
        kt = np.array([thermal_energy(kelvin) for kelvin in self.temperatures])
        if np.ptp(kt) <= 1e-9 * kt.max():
            return Estimate(self.values * kt, self.errors * kt)
        absolute = self.free_energies
        i = self.normalised[0]
        variance = np.square(self.errors)
        with np.errstate(invalid="ignore"):
            covariance = (variance[i][:, None] + variance[i] - variance) / 2
            total = np.square(absolute.error)[:, None] + np.square(absolute.error)
            spread = np.sqrt(np.maximum(total - 2 * np.outer(kt, kt) * covariance, 0.0))
        return Estimate(absolute.value - absolute.value[:, None], np.where(np.isnan(spread), np.inf, spread))

    @property
    def free_energies(self) -> Estimate:
        """The absolute configurational free energy −kT log Z of each state, (K,), kJ/mol.

        Z is in nm, rigid motion integrated out and without the factor 8π²V.

        Raises:
            OptionError: if no state is normalised.
        """
        if not self.normalised:
            raise OptionError("Expected a GeneratorState among the states, which sets the absolute scale; got none.")
        kt = np.array([thermal_energy(kelvin) for kelvin in self.temperatures])
        i = self.normalised[0]
        return Estimate(kt * self.values[i], kt * self.errors[i])

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise OptionError(f"Expected one of the states {', '.join(self.names)}; got {name!r}.")
        return self.names.index(name)


def free_energy_differences(states: Sequence[State], samples: Sequence[Frames | None]) -> FreeEnergyDifferences:
    """Free-energy differences between states, from samples of some or all of them.

    The estimator depends on which states have samples. With one sampled state it is reweighting (Zwanzig 1954, DOI
    10.1063/1.1740409); from a generator's samples this yields −log Z of a Boltzmann state. With a generator and the
    Boltzmann state that it learned it is BAR with the flow as the map (Bennett 1976, DOI 10.1016/0021-9991(76)90078-4;
    Jarzynski 2002, DOI 10.1103/PhysRevE.65.046122; Hahn & Then 2009, DOI 10.1103/PhysRevE.79.011113). With several
    states it is MBAR (Shirts & Chodera 2008, DOI 10.1063/1.2978177).

    Args:
        states: K Boltzmann distributions and densities of generators.
        samples: of each state, or None; see `reduced_energies`. Errors assume independent samples: see `decorrelated`.

    Raises:
        OptionError, ShapeError, NonFiniteError, IntractableDensityError: as `reduced_energies`.

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> generator = bf.BoltzmannGenerator.for_system(system, layers=2, hidden=(16,), start="bonded")
    >>> states = [GeneratorState(generator), BoltzmannState(generator.potential, 300.0, "butane")]
    >>> found = free_energy_differences(states, [generator.sample(64, seed=1), None])
    >>> found.free_energies.value.shape, found.verdict.trust.name  # untrained, too few samples
    ((2,), 'DO_NOT_USE')
    """
    u_kn, counts = reduced_energies(states, samples)
    temperatures = [_kelvin(state) for state in states]
    normalised = [k for k, state in enumerate(states) if isinstance(state, GeneratorState)]
    ordered = [k for k, state in enumerate(states) if isinstance(state, BoltzmannState)]
    names = [state.name for state in states]
    return mbar(u_kn, counts, names=names, temperatures=temperatures, normalised=normalised, ordered=ordered)


def mbar(
    u_kn: Array,
    counts: Sequence[int] | NDArray[np.int64],
    *,
    names: Sequence[str],
    temperatures: Sequence[float],
    normalised: Sequence[int] = (),
    ordered: Sequence[int] = (),
) -> FreeEnergyDifferences:
    """MBAR from reduced energies in pymbar's layout, with its diagnostics and a verdict.

    Args:
        u_kn: (K, N) in kT: each sample in each state, with samples in the order of their states; +inf where a state has
            density zero.
        counts: (K,) number of samples of each state; may be 0; the sum is N.
        names: of the states.
        temperatures: of the states in K.
        normalised: indices of states whose log Z is known to be 0. The estimated difference between two of them is
            tested against 0.
        ordered: indices of states whose samples are in time order; their correlation is checked.

    Raises:
        ShapeError: if the shapes do not match.
        OptionError: if a temperature is not positive.
        NonFiniteError: if an energy is NaN or −inf, or +inf for a sample in its own state.

    >>> x = np.random.default_rng(0).normal(size=20_000)  # ½x² at kT = 1; the second spring is twice as stiff
    >>> found = mbar(np.stack([x**2 / 2, x**2]), [20_000, 0], names=["soft", "stiff"], temperatures=[300.0, 300.0])
    >>> round(found.between("soft", "stiff").value, 1), found.verdict.trust.name  # ½ log 2
    (0.3, 'TRUST')
    """
    u_kn, counts = np.asarray(u_kn, dtype=np.float64), np.asarray(counts, dtype=np.int64)
    states = len(counts)
    fits = u_kn.shape == (states, counts.sum()) and len(names) == len(temperatures) == states
    if not fits or counts.min(initial=0) < 0 or counts.sum() == 0:
        raise ShapeError(
            "Expected reduced energies (K, N) of N > 0 samples, with a count, a name and a temperature for each state; "
            f"got {u_kn.shape}, counts {counts.tolist()}, {len(names)} names, {len(temperatures)} temperatures."
        )
    kelvins = [checked_temperature(temperature) for temperature in temperatures]
    of_state = np.repeat(np.arange(states), counts)
    own = u_kn[of_state, np.arange(u_kn.shape[1])]
    if np.isnan(u_kn).any() or np.isneginf(u_kn).any() or np.isposinf(own).any():
        raise NonFiniteError(
            "Expected reduced energies that are finite or +inf, and finite in each sample's own state."
        )
    # A constant for each sample cancels; subtracting its smallest energy keeps the exponentials in range.
    u_kn = u_kn - u_kn.min(0)
    if unreached := [name for name, row in zip(names, u_kn, strict=True) if not np.isfinite(row).any()]:
        raise NonFiniteError(
            f"Expected samples with positive density in each state; there are none for {', '.join(unreached)}."
        )
    solved = solve_mbar(u_kn, counts)
    with np.errstate(invalid="ignore"):  # roots of variances of states without overlap
        found = solved.compute_free_energy_differences()
    values = np.asarray(found["Delta_f"], dtype=np.float64)
    weights = np.asarray(solved.weights(), dtype=np.float64)  # (N, K)
    overlap = np.asarray(weights.T @ weights * counts)
    errors = np.asarray(found["dDelta_f"], dtype=np.float64)
    group = _groups(counts[:, None] * overlap >= 1.0, overlap, counts)
    errors = np.where(np.isnan(errors) | (group[:, None] != group), np.inf, errors)
    np.fill_diagonal(errors, 0.0)
    converged = bool(np.abs(weights.sum(0) - 1.0).max() < 1e-4)
    verdicts = [_overlap_verdict(overlap, counts, names)]
    if not converged:
        verdicts.append(Verdict(Trust.DO_NOT_USE, "the MBAR equations did not converge"))
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights.T)
    for k in np.flatnonzero(counts == 0).tolist():
        seen = SampleWeights(log_weights[k]).verdict
        verdicts.append(Verdict(seen.trust, f"{names[k]} has no samples of its own: {seen.reason}"))
    changes = _changes(weights, counts, of_state)
    for k in range(1, states):
        found_there = _law(changes, log_weights, counts, 0, k).own_verdict
        if found_there.trust > Trust.TRUST:
            verdicts.append(Verdict(found_there.trust, f"from {names[0]} to {names[k]}, {found_there.reason}"))
    for k in ordered:
        verdicts += _correlation_verdict(own[of_state == k], names[k])
    if len(normalised) and not counts[list(normalised)].any():
        verdicts += [_leak_verdict(names[k]) for k in normalised]
    verdicts += _normalised_verdict(values, errors, normalised, names)
    return FreeEnergyDifferences(
        names=tuple(names),
        temperatures=np.array(kelvins),
        values=values,
        errors=errors,
        overlap=overlap,
        counts=counts,
        effective=1.0 / np.square(weights).sum(0),
        log_weights=log_weights,
        changes=changes,
        normalised=tuple(normalised),
        converged=converged,
        verdict=worst(verdicts),
    )


def _changes(weights: Array, counts: NDArray[np.int64], of_state: NDArray[np.int64]) -> Array:
    """First-order contribution of each sample to the deviation of f (K, N), from the equations Σₙ Wₙₖ = 1.

    weights: (N, K) of the solution. The number of samples of a state is fixed, so only deviations from their mean vary.
    """
    states = len(counts)
    deviations = weights.copy()
    for k in np.flatnonzero(counts):
        deviations[of_state == k] -= deviations[of_state == k].mean(0)
    response = np.linalg.pinv(np.eye(states) - weights.T @ weights * counts)
    return np.asarray(-response @ deviations.T)


@dataclass(frozen=True)
class _DifferenceLaw:
    """The law of one difference among several from one MBAR solution, with MBAR's error."""

    own: AverageLaw
    error: float
    of_all: Verdict

    @property
    def verdict(self) -> Verdict:
        found = self.own_verdict
        return worst([self.of_all, *([found] if found.trust > Trust.TRUST else [])])

    @property
    def own_verdict(self) -> Verdict:
        if np.isinf(self.error):
            return Verdict(Trust.DO_NOT_USE, "the two states do not overlap")
        return self.own.own_verdict

    def ends(self, value: float, level: float) -> tuple[float, float]:
        spread = float(self.own.contributions.error)
        if not 0.0 < spread < np.inf or np.isinf(self.error):
            return value - self.error, value + self.error
        low, high = (float(end) * self.error / spread for end in self.own.contributions.interval(level))
        return value + low, value + high


def _law(changes: Array, log_weights: Array, counts: NDArray[np.int64], i: int, j: int) -> AverageLaw:
    """The law of f of state j minus f of state i. A state without samples is reached by reweighting."""
    found = Contributions.of(torch.from_numpy(changes[j] - changes[i]))
    reached = [SampleWeights(log_weights[k]) for k in (i, j) if counts[k] == 0]
    if not reached:
        return AverageLaw(found, SampleWeights(np.zeros(len(changes[i]))))
    return AverageLaw(found, min(reached, key=lambda weights: weights.ess), Observed.MOMENT)


def _groups(linked: NDArray[np.bool_], overlap: Array, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,): the index of each state's group of states that overlap directly or through others.

    A state without samples connects no others; it joins the state whose samples contribute most to it.
    """
    sampled = counts > 0
    _, label = connected_components(linked & sampled & sampled[:, None], directed=False)
    label[~sampled] = label[overlap.argmax(1)[~sampled]]
    return np.asarray(label, dtype=np.int64)


def _overlap_verdict(overlap: Array, counts: NDArray[np.int64], names: Sequence[str]) -> Verdict:
    def apart(linked: NDArray[np.bool_]) -> str | None:
        label = _groups(linked, overlap, counts)
        found = [[n for n, at in zip(names, label, strict=True) if at == g] for g in dict.fromkeys(label.tolist())]
        return " | ".join(", ".join(group) for group in found) if len(found) > 1 else None

    # Of two states with different numbers of samples, the one with fewer decides.
    if groups := apart(counts[:, None] * overlap >= _FEW_SHARED):
        reason = f"states do not overlap ({groups}): fewer than {_FEW_SHARED:g} samples could belong to both"
        return Verdict(Trust.DO_NOT_USE, reason)
    if groups := apart(np.maximum(overlap, overlap.T) >= _POOR_OVERLAP):
        return Verdict(Trust.WITH_CARE, f"states overlap poorly ({groups}): by less than {_POOR_OVERLAP:g}")
    return Verdict(Trust.TRUST, "states overlap")


def _correlation_verdict(own: Array, name: str) -> list[Verdict]:
    g = statistical_inefficiency(own) if len(own) > 1 else 1.0
    if g < _CORRELATED:
        return []
    reason = f"frames of {name} are correlated (one in {g:.0f} is independent), so errors are too small: subsample them"
    return [Verdict(Trust.WITH_CARE, reason)]


def _leak_verdict(name: str) -> Verdict:
    reason = (
        f"{name} has no samples, and equilibrium frames cannot reveal where else it places probability: sample from it"
    )
    return Verdict(Trust.WITH_CARE, reason)


def _normalised_verdict(values: Array, errors: Array, normalised: Sequence[int], names: Sequence[str]) -> list[Verdict]:
    found = []
    for i, j in combinations(normalised, 2):
        sigmas = abs(values[i, j]) / errors[i, j] if errors[i, j] > 0.0 else 0.0
        if sigmas > _APART:
            trust = Trust.DO_NOT_USE if sigmas > _FAR_APART else Trust.WITH_CARE
            reason = (
                f"{names[i]} and {names[j]} are both normalised, but differ by {values[i, j]:.3f} kT ({sigmas:.1f} σ)"
            )
            found.append(Verdict(trust, reason))
    return found


def _kelvin(state: State) -> float:
    assert state.temperature is not None
    return state.temperature
