"""Free energies along collective variables, from weighted samples, with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.axes import Array, Axis, collective_variable
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Observable
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
    ensemble: Ensemble, values: Observable, bins: int | Axis = 72, replicates: int = 200, seed: int = 0
) -> FreeEnergyProfile:
    """The free-energy profile along a collective variable.

    It is −kT log of the share of each bin: that of the density of the variable itself, so another function of it has
    another profile (its Jacobian is not taken out).

    Args:
        ensemble: n frames, with their weights, temperature and groups.
        values: as in `Ensemble.mean`, a function of the trajectory or (n,); a torsion in rad if `bins` is a number.
        bins: so many on the circle from −π to π, or an axis: `Axis(0.1, 0.8, 40, unit="nm")`. Values outside it are
            left out.
        replicates, seed: of the bootstrap.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a value is not finite where one is.
        OptionError: if there is no bin, or no sample lies within the axis.

    >>> ensemble = Ensemble(np.zeros((3, 1, 3)), np.zeros(3), 300.0)
    >>> profile = free_energy_profile(ensemble, [0.1, 0.1, 0.3], Axis(0.0, 0.4, bins=2, unit="nm"))
    >>> profile.values.round(3), profile.centers
    (array([0.   , 0.693]), array([0.1, 0.3]))
    """
    axis = _axis(bins)
    index = axis.index(collective_variable(ensemble, values))
    found, errors = _binned_free_energy(ensemble, index, axis.bins, replicates, seed)
    return FreeEnergyProfile(found, errors, ensemble.temperature, axis)


def free_energy_surface(
    ensemble: Ensemble,
    x: Observable,
    y: Observable,
    bins: int | Axis | tuple[Axis, Axis] = 72,
    replicates: int = 200,
    seed: int = 0,
) -> FreeEnergySurface:
    """The free-energy surface over two collective variables.

    x, y: as the values of `free_energy_profile`; bins: as there, for both, or an axis for each; the rest as there.
    """
    first, second = bins if isinstance(bins, tuple) else (_axis(bins), _axis(bins))
    rows, columns = first.index(collective_variable(ensemble, x)), second.index(collective_variable(ensemble, y))
    index = np.where((rows >= 0) & (columns >= 0), rows * second.bins + columns, -1)
    shape = first.bins, second.bins
    values, errors = _binned_free_energy(ensemble, index, first.bins * second.bins, replicates, seed)
    return FreeEnergySurface(values.reshape(shape), errors.reshape(shape), ensemble.temperature, first, second)


def _axis(bins: int | Axis) -> Axis:
    return bins if isinstance(bins, Axis) else Axis.torsion(bins)


def _binned_free_energy(
    ensemble: Ensemble, index: NDArray[np.int64], bins: int, replicates: int, seed: int
) -> tuple[Array, Array]:
    """−log of the weighted share of each bin, from its minimum, and bootstrap errors; both (bins,) in kT.

    index: (n,), −1 outside all bins.
    """
    bin_of = torch.from_numpy(index) + 1  # the first is what lies outside

    def histogram(weights: torch.Tensor) -> torch.Tensor:
        return torch.bincount(bin_of, weights, minlength=bins + 1)[1:] / weights.sum()

    logs, groups = ensemble.weighting
    share = histogram(importance.normalized_weights(logs)).numpy()
    if not share.any():
        raise OptionError("Expected samples of positive weight within the axis; all lie outside.")
    random = torch.Generator().manual_seed(seed)
    spread = importance.bootstrap_error(histogram, logs, replicates, random, groups).numpy()
    values: Array = -np.log(share, out=np.full(bins, -np.inf), where=share > 0)
    errors: Array = np.divide(spread, share, out=np.full(bins, np.nan), where=share > 0)
    return values - values.min(), errors
