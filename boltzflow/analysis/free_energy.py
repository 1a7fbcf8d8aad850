"""Free energies and populations along torsions, from weighted samples, with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.core import importance
from boltzflow.units import thermal_energy

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FreeEnergy:
    """F = −kT log p over bins; its minimum is 0, empty bins are +inf.

    Attributes:
        values: in kT.
        errors: bootstrap standard errors in kT, NaN in empty bins.
        temperature: in K.
    """

    values: Array
    errors: Array
    temperature: float

    @property
    def kj_per_mol(self) -> tuple[Array, Array]:
        """Values and errors in kJ/mol."""
        kt = thermal_energy(self.temperature)
        return self.values * kt, self.errors * kt


@dataclass(frozen=True)
class FreeEnergyProfile(FreeEnergy):
    """The free energy along a torsion.

    Attributes:
        centers: of the bins, rad.
    """

    centers: Array


@dataclass(frozen=True)
class FreeEnergySurface(FreeEnergy):
    """The free energy over two torsions; values and errors are (bins along x, bins along y).

    Attributes:
        edges: of the bins along both axes, rad.
    """

    edges: Array


@dataclass(frozen=True)
class Population:
    """The weighted share of a region, and what it rests on.

    Attributes:
        value: share between 0 and 1.
        error: its standard error (delta method); where no sample or every sample is inside, the share of one
            effective sample.
        free_energy: of the region against the rest, −kT log(p / (1 − p)), kJ/mol; None if one of them is empty.
        free_energy_error: its standard error, kJ/mol.
        frames: the number of samples inside.
        effective_frames: (Σw)² / Σw² of the samples inside: with fewer than about 20 the error is not to be trusted.
    """

    value: float
    error: float
    free_energy: float | None
    free_energy_error: float | None
    frames: int
    effective_frames: float


def free_energy_profile(
    angle: Array, log_weights: Array, temperature: float, bins: int = 72, replicates: int = 200, seed: int = 0
) -> FreeEnergyProfile:
    """The free-energy profile of a torsion. angle: (n,) in rad; log_weights: (n,); temperature in K."""
    values, errors = _binned_free_energy(_bin_index(angle, bins), bins, log_weights, replicates, seed)
    return FreeEnergyProfile(values, errors, temperature, _centers(bins))


def free_energy_surface(
    x: Array,
    y: Array,
    log_weights: Array,
    temperature: float,
    bins: int = 72,
    replicates: int = 200,
    seed: int = 0,
) -> FreeEnergySurface:
    """The free-energy surface of two torsions. x, y: (n,) in rad; log_weights: (n,); temperature in K."""
    index = _bin_index(x, bins) * bins + _bin_index(y, bins)
    values, errors = _binned_free_energy(index, bins**2, log_weights, replicates, seed)
    edges = np.linspace(-np.pi, np.pi, bins + 1)
    return FreeEnergySurface(values.reshape(bins, bins), errors.reshape(bins, bins), temperature, edges)


def population(angle: Array, low: float, high: float, log_weights: Array, temperature: float) -> Population:
    """The weighted share of low < angle < high on the circle (low > high goes through ±π).

    angle: (n,) in rad; low, high in rad; log_weights: (n,); temperature in K.

    >>> population(np.array([-1.0, 0.5, 1.0, 3.0]), 0.0, 2.2, np.zeros(4), 300.0).value
    0.5
    """
    whole = high - low >= 2 * np.pi
    inside = np.full(angle.shape, True) if whole else np.mod(angle - low, 2 * np.pi) < np.mod(high - low, 2 * np.pi)
    mean, error = importance.weighted_mean(torch.from_numpy(inside), torch.from_numpy(log_weights))
    share, share_error = mean.item(), error.item()
    kt = thermal_energy(temperature)
    split = 0.0 < share < 1.0
    if not split:
        share_error = 1 / (importance.effective_sample_size(torch.from_numpy(log_weights)) * len(log_weights))
    inside_weights = torch.from_numpy(log_weights[inside])
    frames = int((inside_weights > -torch.inf).sum())
    return Population(
        value=share,
        error=share_error,
        free_energy=-kt * math.log(share / (1 - share)) if split else None,
        free_energy_error=kt * share_error / (share * (1 - share)) if split else None,
        frames=frames,
        effective_frames=importance.effective_sample_size(inside_weights) * len(inside_weights) if frames else 0.0,
    )


def _bin_index(angle: Array, bins: int) -> NDArray[np.int64]:
    place = np.floor((angle + np.pi) * (bins / (2 * np.pi))).astype(np.int64)
    return np.mod(place, bins)


def _centers(bins: int) -> Array:
    return (np.arange(bins, dtype=np.float64) + 0.5) * (2 * np.pi / bins) - np.pi


def _binned_free_energy(
    index: NDArray[np.int64], bins: int, log_weights: Array, replicates: int, seed: int
) -> tuple[Array, Array]:
    """−log of the weighted share of each bin, from its minimum, and bootstrap errors; both (bins,) in kT."""
    bin_of = torch.from_numpy(index)

    def histogram(weights: torch.Tensor) -> torch.Tensor:
        return torch.bincount(bin_of, weights, minlength=bins) / weights.sum()

    logs = torch.from_numpy(log_weights)
    share = histogram(importance.normalized_weights(logs)).numpy()
    spread = importance.bootstrap(histogram, logs, replicates, torch.Generator().manual_seed(seed)).std(0).numpy()
    values: Array = -np.log(share, out=np.full(bins, -np.inf), where=share > 0)
    errors: Array = np.divide(spread, share, out=np.full(bins, np.nan), where=share > 0)
    return values - values.min(), errors
