"""Thermodynamic quantities from weighted samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from boltzflow.analysis.cut_off import cut_off_verdict
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.core.contributions import Contributions
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, OptionError
from boltzflow.estimate import Estimate
from boltzflow.trust import AverageLaw, Observed
from boltzflow.units import GAS_CONSTANT, Temperature, checked_temperature, thermal_energy
from boltzflow.verdict import Trust, Verdict, worst

_NAMES = ("log Z", "energy", "entropy", "heat capacity")


def heat_capacity(ensemble: Ensemble) -> Estimate:
    """The configurational heat capacity (⟨U²⟩ − ⟨U⟩²)/kT² in J/(mol K), with its standard error (delta method).

    It is d⟨U⟩/dT at the ensemble's temperature. Kinetic energy adds R/2 for each degree of freedom. The verdict uses
    w·(U − ⟨U⟩)², which a few outliers can dominate even if the weights look good.

    Args:
        ensemble: with its energies and weights.

    Raises:
        DataError: if the ensemble has no energies.
        NonFiniteError: if no weight is positive.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [-1.0, 1.0], 300.0)
    >>> round(heat_capacity(ensemble).value, 3)  # 1 (kJ/mol)² / (R · (300 K)²)
    1.336
    """
    # The error of the mean does not enter to first order: the variance is minimal about the mean.
    energies = ensemble.energies_for("`heat_capacity`")
    variance = _moment(ensemble, np.square(energies - ensemble.mean(energies).value))
    return variance.scaled(1e3 / (GAS_CONSTANT * ensemble.temperature**2))


@dataclass(frozen=True)
class AbsoluteFreeEnergy:
    """The configurational free energy F = −kT log Z of a molecule.

    Z = ∫exp(−U/kT) over positions in nm with rigid motion integrated out: without the factor 8π²V of translation and
    rotation, and without momenta. `docs/free-energies.md` describes the conversion to the standard state.

    Attributes:
        value: in kJ/mol.
        error: its standard error, kJ/mol.
        temperature: in K.
        log_z: log Z and its standard error; −F in kT.
        verdict: whether the weights support the value and its error. Weights cannot reveal basins that are never
            sampled.
    """

    value: float
    error: float
    temperature: float
    log_z: Estimate
    verdict: Verdict

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The ends of a confidence interval in kJ/mol, as `Estimate.interval`."""
        return self.log_z.scaled(-thermal_energy(self.temperature)).interval(level)


def absolute_free_energy(ensemble: Ensemble) -> AbsoluteFreeEnergy:
    """The configurational free energy −kT log Z from a generator's samples.

    Args:
        ensemble: with absolute weights, as returned by `generator.sample` and `anneal`, also after `at`,
            `with_potential`, `hamiltonian_moves` or `unfold`.

    Raises:
        DataError: if the weights are known only up to a factor.
        NonFiniteError: if no weight is positive.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 0.0], 300.0, log_weights=[1.0, 1.0], log_q=[-1.0, -1.0])
    >>> round(absolute_free_energy(ensemble).value, 3)  # −kT
    -2.494
    """
    if not ensemble.absolute:
        raise DataError(
            "Expected absolute weights, such as those of a generator's samples or of `anneal`; these are known only "
            "up to a factor."
        )
    log_z = ensemble.log_z
    value, error = log_z.scaled(-thermal_energy(ensemble.temperature))
    assert log_z.verdict is not None
    verdict = worst([log_z.verdict, *cut_off_verdict(ensemble)])
    return AbsoluteFreeEnergy(value, error, ensemble.temperature, log_z, verdict)


@dataclass(frozen=True, eq=False)
class TemperatureSeries:
    """Configurational thermodynamic functions of temperature, each with its standard error.

    Attributes:
        temperatures: (T,) in K.
        log_z: (T,), absolute if the ensemble's weights are; otherwise relative to its temperature.
        energy: ⟨U⟩ (T,) in kJ/mol.
        entropy: ⟨U⟩/T + R log Z (T,) in J/(mol K), relative if log Z is.
        heat_capacity: d⟨U⟩/dT (T,) in J/(mol K).
        verdicts: for each temperature, the worst verdict on its weights and on the four functions.
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
            DataError: if log Z is relative: F then has an unknown term proportional to T.
        """
        if not self.absolute:
            raise DataError("Expected absolute weights for F(T); with these only log[Z(T)/Z(T₀)] is known.")
        return self.log_z.scaled(-GAS_CONSTANT * self.temperatures)


def temperature_series(ensemble: Ensemble, temperatures: Sequence[Temperature]) -> TemperatureSeries:
    """Free energy, mean energy, entropy and heat capacity as functions of T, by reweighting to each temperature.

    log w = −U/kT − log q is exact at any T; the verdicts state at which temperatures there are enough effective
    samples. The standard deviation of the energy is √(kT² C), so reweighting works over about ΔT/T = √(R/C).

    Args:
        ensemble: with its energies and weights. Errors use its groups if samples are not independent.
        temperatures: in K or Quantities.

    Raises:
        OptionError: if a temperature is not positive, or none is given.
        DataError: if the ensemble has no energies.
        NonFiniteError: if no weight is positive.

    >>> energies = np.random.default_rng(0).gamma(1.5, 2.0, 100_000)  # three soft springs at kT = 2 kJ/mol
    >>> series = temperature_series(Ensemble(np.zeros((100_000, 1, 3)), energies, 2.0 / GAS_CONSTANT), [250.0, 300.0])
    >>> [round(float(c) / (1e3 * GAS_CONSTANT), 1) for c in series.heat_capacity.value]  # 3 R/2
    [1.5, 1.5]
    """
    kelvins = [checked_temperature(temperature) for temperature in temperatures]
    if not kelvins:
        raise OptionError("Expected at least one temperature; got none.")
    ensemble.energies_for("`temperature_series`")
    absolute = ensemble.absolute
    # Relative values refer to the ensemble's own temperature; its correlated scatter cancels in part.
    origin = None if absolute else _Functions.of(ensemble)
    ensembles = [ensemble.at(kelvin) for kelvin in kelvins]
    found = [_Functions.of(there) for there in ensembles]
    energies = [_moment(there, there.energies) for there in ensembles]
    capacities = [heat_capacity(there) for there in ensembles]
    log_z = [there.log_z if origin is None else f.log_z_from(origin) for there, f in zip(ensembles, found, strict=True)]
    entropies = [f.entropy_from(origin) for f in found]
    return TemperatureSeries(
        temperatures=np.array(kelvins),
        log_z=Estimate.stacked(log_z),
        energy=Estimate.stacked(energies),
        entropy=Estimate.stacked(entropies),
        heat_capacity=Estimate.stacked(capacities),
        verdicts=tuple(
            _verdict(there, dict(zip(_NAMES, estimates, strict=True)))
            for there, *estimates in zip(ensembles, log_z, energies, entropies, capacities, strict=True)
        ),
        absolute=absolute,
    )


def _verdict(ensemble: Ensemble, estimates: Mapping[str, Estimate]) -> Verdict:
    """The worst of the weights' verdict and those of several estimates with them."""
    own = {name: estimate.law.own_verdict for name, estimate in estimates.items() if estimate.law is not None}
    reasons = [Verdict(v.trust, f"{name}: {v.reason}") for name, v in own.items() if v.trust > Trust.TRUST]
    return worst([ensemble.sample_weights.verdict, *reasons, *cut_off_verdict(ensemble)])


def _moment(ensemble: Ensemble, values: Array) -> Estimate:
    """The mean of a power of the energy (n,)."""
    found = ensemble.mean(values)
    assert isinstance(found.law, AverageLaw)
    return Estimate(*found, AverageLaw(found.law.contributions, found.law.weights, Observed.MOMENT))


@dataclass(frozen=True, eq=False)
class _Functions:
    """log Z and S at one temperature, and jackknife contributions of samples and groups to their errors (n,).

    A sample without a group counts as its own group. If there are fewer groups than n samples, the others count as
    groups without descendants, as in `importance.log_mean_weight`. All contributions are infinite if one group has all
    the weight.

    Attributes:
        log_z, entropy: dimensionless, and in J/(mol K).
        of_log_z, of_entropy: contributions of groups and of samples (2, n).
    """

    ensemble: Ensemble
    log_z: float
    entropy: float
    of_log_z: torch.Tensor
    of_entropy: torch.Tensor

    @classmethod
    def of(cls, ensemble: Ensemble) -> _Functions:
        log_weights, groups = ensemble.weighting
        of_log_z, of_energy = torch.zeros(2, 2, len(ensemble), dtype=torch.float64)
        for row, members in enumerate((groups, None)):
            of_log_z[row] = importance.changes_of_log_mean(log_weights, members)
            changes = importance.changes_of_mean(torch.from_numpy(ensemble.energies), log_weights, members)
            of_energy[row, : len(changes)] = changes.nan_to_num(nan=math.inf)
        kelvin, gas_constant = ensemble.temperature, 1e3 * GAS_CONSTANT
        energy, log_z = ensemble.mean(ensemble.energies).value, ensemble.log_z.value
        return cls(
            ensemble=ensemble,
            log_z=log_z,
            entropy=1e3 * energy / kelvin + gas_constant * log_z,
            of_log_z=of_log_z,
            of_entropy=1e3 * of_energy / kelvin + gas_constant * of_log_z,
        )

    def log_z_from(self, origin: _Functions) -> Estimate:
        return self._estimate(self.log_z - origin.log_z, self.of_log_z - origin.of_log_z)

    def entropy_from(self, origin: _Functions | None) -> Estimate:
        if origin is None:
            return self._estimate(self.entropy, self.of_entropy)
        return self._estimate(self.entropy - origin.entropy, self.of_entropy - origin.of_entropy)

    def _estimate(self, value: float, changes: torch.Tensor) -> Estimate:
        found = Contributions.of(*changes)
        return Estimate(value, found.error.item(), AverageLaw(found, self.ensemble.sample_weights, Observed.MOMENT))
