"""Free energies along collective variables, from weighted samples, with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from boltzflow.analysis.axes import Array, Axis, Groups, as_tensor, checked_values
from boltzflow.core import importance
from boltzflow.errors import OptionError
from boltzflow.units import thermal_energy


@dataclass(frozen=True)
class FreeEnergy:
    """F = −kT log p over bins; its minimum is 0, empty bins are +inf.

    Attributes:
        values: in kT.
        errors: bootstrap standard errors in kT, NaN in empty bins; infinite where one sample, or one group, has all
            the weight.
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
    """The free energy along a collective variable.

    Attributes:
        axis: its bins.
    """

    axis: Axis

    @property
    def centers(self) -> Array:
        """Of the bins, in the axis' unit (rad for a torsion)."""
        return self.axis.centers


@dataclass(frozen=True)
class FreeEnergySurface(FreeEnergy):
    """The free energy over two collective variables; values and errors are (bins along x, bins along y).

    Attributes:
        x, y: their bins.
    """

    x: Axis
    y: Axis


def free_energy_profile(
    values: ArrayLike,
    log_weights: Array,
    temperature: float,
    bins: int | Axis = 72,
    replicates: int = 200,
    seed: int = 0,
    groups: Groups = None,
) -> FreeEnergyProfile:
    """The free-energy profile along a collective variable.

    It is −kT log of the share of each bin: that of the density of the variable itself, so another function of it has
    another profile (its Jacobian is not taken out).

    Args:
        values: (n,); a torsion in rad if `bins` is a number.
        log_weights: (n,).
        temperature: in K.
        bins: so many on the circle from −π to π, or an axis: `Axis(0.1, 0.8, 40, unit="nm")`. Values outside it are
            left out.
        replicates, seed: of the bootstrap.
        groups: (n,) of an ensemble whose frames are not independent.

    Raises:
        ShapeError: if there is not one value for each weight.
        NonFiniteError: if no weight is positive, or a value is not finite where one is.
        OptionError: if there is no bin, or no sample lies within the axis.

    >>> profile = free_energy_profile([0.1, 0.1, 0.3], np.zeros(3), 300.0, Axis(0.0, 0.4, bins=2, unit="nm"))
    >>> profile.values.round(3), profile.centers
    (array([0.   , 0.693]), array([0.1, 0.3]))
    """
    axis = _axis(bins)
    index = axis.index(checked_values(values, log_weights))
    found, errors = _binned_free_energy(index, axis.bins, log_weights, replicates, seed, groups)
    return FreeEnergyProfile(found, errors, temperature, axis)


def free_energy_surface(
    x: ArrayLike,
    y: ArrayLike,
    log_weights: Array,
    temperature: float,
    bins: int | Axis | tuple[Axis, Axis] = 72,
    replicates: int = 200,
    seed: int = 0,
    groups: Groups = None,
) -> FreeEnergySurface:
    """The free-energy surface over two collective variables.

    x, y: (n,); bins: as in `free_energy_profile`, for both, or an axis for each; the rest as there.
    """
    first, second = bins if isinstance(bins, tuple) else (_axis(bins), _axis(bins))
    rows, columns = first.index(checked_values(x, log_weights)), second.index(checked_values(y, log_weights))
    index = np.where((rows >= 0) & (columns >= 0), rows * second.bins + columns, -1)
    shape = first.bins, second.bins
    values, errors = _binned_free_energy(index, first.bins * second.bins, log_weights, replicates, seed, groups)
    return FreeEnergySurface(values.reshape(shape), errors.reshape(shape), temperature, first, second)


def _axis(bins: int | Axis) -> Axis:
    return bins if isinstance(bins, Axis) else Axis.torsion(bins)


def _binned_free_energy(
    index: NDArray[np.int64], bins: int, log_weights: Array, replicates: int, seed: int, groups: Groups
) -> tuple[Array, Array]:
    """−log of the weighted share of each bin, from its minimum, and bootstrap errors; both (bins,) in kT.

    index: (n,), −1 outside all bins.
    """
    bin_of = torch.from_numpy(index) + 1  # the first is what lies outside

    def histogram(weights: torch.Tensor) -> torch.Tensor:
        return torch.bincount(bin_of, weights, minlength=bins + 1)[1:] / weights.sum()

    logs = torch.from_numpy(log_weights)
    share = histogram(importance.normalized_weights(logs)).numpy()
    if not share.any():
        raise OptionError("Expected samples of positive weight within the axis; all lie outside.")
    random = torch.Generator().manual_seed(seed)
    spread = importance.bootstrap_error(histogram, logs, replicates, random, as_tensor(groups)).numpy()
    values: Array = -np.log(share, out=np.full(bins, -np.inf), where=share > 0)
    errors: Array = np.divide(spread, share, out=np.full(bins, np.nan), where=share > 0)
    return values - values.min(), errors
