"""Thermodynamic quantities from weighted samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.axes import as_tensor
from boltzflow.analysis.cut_off import cut_off_verdict
from boltzflow.analysis.verdict import Trust, Verdict, worst
from boltzflow.analysis.weights import weights_verdict
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Estimate
from boltzflow.errors import OptionError
from boltzflow.units import GAS_CONSTANT, checked_temperature, thermal_energy

Array = NDArray[np.float64]

_FEW = 5.0  # samples: a count of so few is itself known to ±√5


def heat_capacity(ensemble: Ensemble) -> Estimate:
    """The configurational heat capacity (⟨U²⟩ − ⟨U⟩²)/kT² in J/(mol K), with its standard error (delta method).

    It is d⟨U⟩/dT at the ensemble's temperature. Motion adds R/2 for each degree of freedom.

    Args:
        ensemble: with its energies and weights.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [-1.0, 1.0], 300.0)
    >>> round(heat_capacity(ensemble).value, 3)  # 1 (kJ/mol)² / (R · (300 K)²)
    1.336
    """
    # The mean's own error does not enter to first order: a variance is least about the mean.
    variance = ensemble.mean(np.square(ensemble.energies - ensemble.mean(ensemble.energies).value))
    scale = 1e3 / (GAS_CONSTANT * ensemble.temperature**2)
    return Estimate(scale * variance.value, scale * variance.error)


@dataclass(frozen=True)
class AbsoluteFreeEnergy:
    """The configurational free energy F = −kT log Z of a molecule.

    Z = ∫exp(−U/kT) over positions in nm, rigid motion integrated out: without the factor 8π²V of where the molecule is
    and how it is turned, and without momenta. `docs/free-energies.md` has the way to the standard state.

    Attributes:
        value: in kJ/mol.
        error: its standard error, kJ/mol.
        temperature: in K.
        log_z: log Z and its standard error; −F in kT.
        verdict: whether the weights carry it, and its error. They know nothing of a basin that no sample has reached.
    """

    value: float
    error: float
    temperature: float
    log_z: Estimate
    verdict: Verdict


def absolute_free_energy(ensemble: Ensemble) -> AbsoluteFreeEnergy:
    """The configurational free energy −kT log Z from a generator's samples.

    Args:
        ensemble: of absolute weights, as `generator.sample` and `anneal` return it; also one reweighted from it by `at`
            or `with_potential`, moved by `hamiltonian_moves`, or spread over copies by `unfold`.

    Raises:
        OptionError: if weights are not absolute, but may have any constant.
        NonFiniteError: if no weight is positive.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 0.0], 300.0, log_weights=[1.0, 1.0], log_q=[-1.0, -1.0])
    >>> round(absolute_free_energy(ensemble).value, 3)  # −kT
    -2.494
    """
    if not ensemble.absolute:
        raise OptionError(
            "Expected weights with their constant, such as those of a generator's samples or of `anneal`; these are "
            "known up to a factor alone."
        )
    kt, log_z = thermal_energy(ensemble.temperature), ensemble.log_z
    verdict = _verdict(ensemble, _functions(ensemble))
    return AbsoluteFreeEnergy(-kt * log_z.value, kt * log_z.error, ensemble.temperature, log_z, verdict)


@dataclass(frozen=True, eq=False)
class TemperatureSeries:
    """Thermodynamic functions of temperature, configurational parts, each with its standard error.

    Attributes:
        temperatures: (T,) in K.
        log_z: (T,), absolute or, where the ensemble's weights are not, relative to its temperature.
        energy: ⟨U⟩ (T,) in kJ/mol.
        entropy: ⟨U⟩/T + R log Z (T,) in J/(mol K), relative where log Z is.
        heat_capacity: d⟨U⟩/dT (T,) in J/(mol K).
        verdicts: of each temperature's weights.
        absolute: whether log Z and entropies are absolute.
    """

    temperatures: Array
    log_z: Estimate
    energy: Estimate
    entropy: Estimate
    heat_capacity: Estimate
    verdicts: tuple[Verdict, ...]
    absolute: bool

    @property
    def free_energy(self) -> Estimate:
        """F = −kT log Z (T,) in kJ/mol.

        Raises:
            OptionError: if log Z is relative: F then has an unknown part that grows with T.
        """
        if not self.absolute:
            raise OptionError("Expected absolute weights for F(T); without them log Z(T)/Z(T₀) is all there is.")
        kt = GAS_CONSTANT * self.temperatures
        return Estimate(-kt * self.log_z.value, kt * self.log_z.error)


def temperature_series(ensemble: Ensemble, temperatures: Sequence[object]) -> TemperatureSeries:
    """Free energy, mean energy, entropy and heat capacity as functions of T, by weights at each temperature.

    log w = −U/kT − log q is exact at any T; how far from the ensemble's own it is of use, the verdicts say. Energies
    spread by √(kT² C): weights hold over about ΔT/T = √(R/C).

    Args:
        ensemble: with its energies and weights. Errors are those of its groups, where samples are not independent.
        temperatures: in K or Quantities.

    Raises:
        OptionError: if a temperature is not positive, or there is none.
        NonFiniteError: if no weight is positive.

    >>> energies = np.random.default_rng(0).gamma(1.5, 2.0, 100_000)  # three soft springs at kT = 2 kJ/mol
    >>> series = temperature_series(Ensemble(np.zeros((100_000, 1, 3)), energies, 2.0 / GAS_CONSTANT), [250.0, 300.0])
    >>> [round(float(c) / (1e3 * GAS_CONSTANT), 1) for c in series.heat_capacity.value]  # 3 R/2
    [1.5, 1.5]
    """
    kelvins = [checked_temperature(temperature) for temperature in temperatures]
    if not kelvins:
        raise OptionError("Expected at least one temperature.")
    absolute = ensemble.absolute
    # What is relative is so to the ensemble's own temperature: whose scatter is shared, and so taken off too.
    origin = None if absolute else _functions(ensemble)
    ensembles = [ensemble.at(kelvin) for kelvin in kelvins]
    absolute_functions = [_functions(there) for there in ensembles]
    functions = absolute_functions if origin is None else [f.relative_to(origin) for f in absolute_functions]
    return TemperatureSeries(
        temperatures=np.array(kelvins),
        log_z=_columns(
            there.log_z if absolute else f.estimate_of_log_z for there, f in zip(ensembles, functions, strict=True)
        ),
        energy=_columns(there.mean(there.energies) for there in ensembles),
        entropy=_columns(f.estimate_of_entropy for f in functions),
        heat_capacity=_columns(heat_capacity(there) for there in ensembles),
        verdicts=tuple(_verdict(there, f) for there, f in zip(ensembles, absolute_functions, strict=True)),
        absolute=absolute,
    )


@dataclass(frozen=True, eq=False)
class _Functions:
    """log Z and S at one temperature, and what each group of samples adds to their errors (n,), by the jackknife.

    A sample without a group is one of its own. Of fewer groups than n samples the others are taken for groups without
    descendants, as `importance.log_mean_weight` does. All are infinite where one group has all the weight.
    """

    log_z: float
    entropy: float
    of_log_z: Array
    of_entropy: Array

    def relative_to(self, origin: _Functions) -> _Functions:
        known = np.isfinite(origin.of_log_z) & np.isfinite(self.of_log_z)
        return _Functions(
            log_z=self.log_z - origin.log_z,
            entropy=self.entropy - origin.entropy,
            of_log_z=np.subtract(self.of_log_z, origin.of_log_z, out=np.full(len(known), np.inf), where=known),
            of_entropy=np.subtract(self.of_entropy, origin.of_entropy, out=np.full(len(known), np.inf), where=known),
        )

    @property
    def estimate_of_log_z(self) -> Estimate:
        return Estimate(self.log_z, _norm(self.of_log_z))

    @property
    def estimate_of_entropy(self) -> Estimate:
        return Estimate(self.entropy, _norm(self.of_entropy))


def _functions(ensemble: Ensemble) -> _Functions:
    weighted = torch.from_numpy(ensemble.log_weights), as_tensor(ensemble.groups)
    of_log_z: Array = importance.changes_of_log_mean(*weighted).numpy()
    of_energy = np.zeros(len(ensemble))
    changes = importance.changes_of_mean(torch.from_numpy(ensemble.energies), *weighted).numpy()
    of_energy[: len(changes)] = np.where(np.isfinite(changes), changes, np.inf)
    kelvin, gas_constant = ensemble.temperature, 1e3 * GAS_CONSTANT
    energy, log_z = ensemble.mean(ensemble.energies).value, ensemble.log_z.value
    return _Functions(
        log_z=log_z,
        entropy=1e3 * energy / kelvin + gas_constant * log_z,
        of_log_z=of_log_z,
        of_entropy=1e3 * of_energy / kelvin + gas_constant * of_log_z,
    )


def _norm(parts: Array) -> float:
    return math.sqrt(np.square(parts).sum())


def _verdict(ensemble: Ensemble, functions: _Functions) -> Verdict:
    """That of the weights, and whether so few samples make up the error of log Z that it may as well be another."""
    verdicts = [weights_verdict(ensemble.log_weights, ensemble.groups), *cut_off_verdict(ensemble)]
    squares = np.square(functions.of_log_z)
    if 0.0 < (total := squares.sum()) < np.inf and (few := 1.0 / np.square(squares / total).sum()) < _FEW:
        reason = f"the error of log Z rests on {few:.0f} of {len(ensemble):,} samples, far from the others in weight"
        verdicts.append(Verdict(Trust.WITH_CARE, f"{reason}: it is hardly known"))
    return worst(verdicts)


def _columns(found: Iterable[Estimate]) -> Estimate:
    values, errors = zip(*found, strict=True)
    return Estimate(np.array(values), np.array(errors))
