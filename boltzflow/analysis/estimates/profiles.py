"""Free energies along collective variables, from weighted samples, with their errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.axes import Axis, collective_variable
from boltzflow.analysis.estimates.binned_errors import BinnedShares, smooth_maximum
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.core.contributions import Contributions
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import InsufficientDataError, OptionError
from boltzflow.handover import optional
from boltzflow.units import thermal_energy
from boltzflow.verdict import Verdict

Zero = Literal["lowest", "mean"] | float | tuple[Any, Any]
"""Where F = 0: see `free_energy_profile`."""


@dataclass(frozen=True)
class FreeEnergy:
    """F = −kT log p over bins, relative to a zero; +inf in empty bins.

    Attributes:
        values: in kT.
        errors: standard errors in kT of the difference from the zero (delta method); NaN in empty bins; infinite if one
            sample, or one group, has all the weight.
        temperature: in K.
        zero: (bins …), the weight of each bin in the zero; they sum to 1.
        contributions: of independent groups to the differences.
        extremes: (replicates,), the largest deviation over all bins, in standard errors, of each bootstrap replicate.
        verdict: whether the weights support it. A bin with few samples has a wide interval.
    """

    values: Array
    errors: Array
    temperature: float
    zero: Array = field(repr=False)
    contributions: Contributions = field(repr=False)
    extremes: Array = field(repr=False)
    verdict: Verdict

    @property
    def kj_per_mol(self) -> tuple[Array, Array]:
        """Values and errors in kJ/mol."""
        kt = thermal_energy(self.temperature)
        return self.values * kt, self.errors * kt

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """The ends of a confidence interval in kT for each bin separately: one in twenty 95 % intervals is wrong."""
        low, high = (end.numpy().reshape(self.values.shape) for end in self.contributions.interval(level))
        return self.values - high, self.values - low  # F falls as the population rises

    def band(self, level: float = 0.95) -> tuple[Array, Array]:
        """The ends of a simultaneous band in kT, which contains the whole curve in a fraction `level` of repetitions.

        Raises:
            OptionError: if the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise OptionError(f"Expected a level between 0 and 1; got {level:g}.")
        half = float(np.quantile(self.extremes, level)) * self.errors
        return self.values - half, self.values + half


@dataclass(frozen=True)
class FreeEnergyProfile(FreeEnergy):
    """The free energy along a collective variable.

    Attributes:
        axis: its bins.
    """

    axis: Axis

    @property
    def centers(self) -> Array:
        """The centres of the bins, in the unit of the axis (rad for a torsion)."""
        return self.axis.centers

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row for each bin: center, free_energy, its error and 95 % interval in kT.

        Raises:
            MissingDependencyError: if pandas is not installed (the extra "interop").
        """
        low, high = self.interval()
        columns = {"center": self.centers, "free_energy": self.values, "free_energy_error": self.errors}
        columns |= {"free_energy_low": low, "free_energy_high": high}
        return optional("pandas", "`FreeEnergyProfile.to_pandas`").DataFrame(columns)


@dataclass(frozen=True)
class FreeEnergySurface(FreeEnergy):
    """The free energy over two collective variables; values and errors are (bins along x, bins along y).

    Attributes:
        x, y: their bins.
    """

    x: Axis
    y: Axis


def free_energy_profile(
    ensemble: Ensemble,
    values: Observable,
    bins: int | Axis = 72,
    replicates: int = 200,
    seed: int = 0,
    zero: Zero = "lowest",
) -> FreeEnergyProfile:
    """The free-energy profile along a collective variable.

    It is −kT log p for the population p of each bin. This refers to the density of the variable itself: a function of
    the variable has another profile, since no Jacobian is removed. Values are relative to a zero, and errors are those
    of the differences.

    Args:
        ensemble: n frames, with their weights, temperature and groups.
        values: as in `Ensemble.mean`, a function of the trajectory or (n,); a torsion in rad if `bins` is a number.
        bins: number of bins on the circle from −π to π, or an axis such as `Axis(0.1, 0.8, 40, unit="nm")`. Values
            outside the axis are left out.
        replicates, seed: of the bootstrap for `FreeEnergy.band`.
        zero: where F = 0. "lowest" is the minimum of the smoothed profile; single bins may lie below it by chance.
            "mean" is the mean density over the axis. A number selects its bin, and (low, high) the mean density in this
            range.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
        OptionError: if there is no bin, or the zero is invalid.
        InsufficientDataError: if no sample lies within the axis, or within the zero.

    >>> ensemble = Ensemble(np.zeros((3, 1, 3)), np.zeros(3), 300.0)
    >>> profile = free_energy_profile(ensemble, [0.1, 0.1, 0.3], Axis(0.0, 0.4, bins=2, unit="nm"), zero=0.1)
    >>> profile.values.round(3), profile.centers
    (array([0.   , 0.693]), array([0.1, 0.3]))
    """
    axis = _axis(bins)
    index = axis.index(collective_variable(ensemble, values))
    found = _differences(ensemble, index, (axis,), zero if isinstance(zero, str) else (zero,), replicates, seed)
    return FreeEnergyProfile(**found, axis=axis)


def free_energy_surface(
    ensemble: Ensemble,
    x: Observable,
    y: Observable,
    bins: int | Axis | tuple[Axis, Axis] = 72,
    replicates: int = 200,
    seed: int = 0,
    zero: Zero = "lowest",
) -> FreeEnergySurface:
    """The free-energy surface over two collective variables.

    x, y: like `values` of `free_energy_profile`. bins: as there, for both variables, or one axis for each. zero:
    "lowest", "mean", or a pair of values or ranges, one for x and one for y. Other arguments are as there.
    """
    first, second = bins if isinstance(bins, tuple) else (_axis(bins), _axis(bins))
    rows, columns = first.index(collective_variable(ensemble, x)), second.index(collective_variable(ensemble, y))
    index = np.where((rows >= 0) & (columns >= 0), rows * second.bins + columns, -1)
    return FreeEnergySurface(
        **_differences(ensemble, index, (first, second), zero, replicates, seed), x=first, y=second
    )


def _axis(bins: int | Axis) -> Axis:
    return bins if isinstance(bins, Axis) else Axis.torsion(bins)


def _differences(
    ensemble: Ensemble, index: NDArray[np.int64], axes: tuple[Axis, ...], zero: Any, replicates: int, seed: int
) -> dict[str, Any]:
    """The attributes of a `FreeEnergy`. index: (n,) of the flattened bins, −1 outside all of them."""
    shape = tuple(axis.bins for axis in axes)
    binned = BinnedShares.of(ensemble, index, int(np.prod(shape)))
    if not binned.shares.any():
        raise InsufficientDataError("Expected samples of positive weight within the axis; all lie outside it.")
    effective = importance.effective_groups(*ensemble.weighting)
    kernel = _zero(zero, binned.shares.reshape(shape), axes, effective).flatten()
    if not (of_zero := binned.shares @ kernel) > 0.0:
        raise InsufficientDataError(f"Expected samples of positive weight in the zero; none lies at {zero}.")
    contributions = binned.deviations(kernel)
    errors = contributions.error.numpy()
    logs = np.log(binned.shares / of_zero, out=np.full(len(errors), -np.inf), where=binned.shares > 0)
    return {
        "values": (0.0 - logs).reshape(shape),
        "errors": errors.reshape(shape),
        "temperature": ensemble.temperature,
        "zero": kernel.reshape(shape),
        "contributions": contributions,
        "extremes": _extremes(ensemble, index, binned.shares, kernel, errors, replicates, seed),
        "verdict": ensemble.sample_weights.verdict,
    }


def _zero(zero: Any, shares: Array, axes: tuple[Axis, ...], effective: float) -> Array:
    """The weight of each bin (bins …) in the zero."""
    if zero == "lowest":
        return smooth_maximum(shares, tuple(axis.periodic for axis in axes), effective)
    if zero == "mean":
        return np.full(shares.shape, 1.0 / shares.size)
    if not isinstance(zero, tuple | list) or len(zero) != len(axes):
        raise OptionError(f"Expected zero 'lowest', 'mean', or a value or range for each variable; got {zero!r}.")
    chosen = [_region(axis, place) for axis, place in zip(axes, zero, strict=True)]
    inside = np.ix_(*chosen)
    kernel = np.zeros(shares.shape)
    kernel[inside] = 1.0
    if not kernel.any():
        raise OptionError(f"Expected a zero within the axis; got {zero}.")
    return np.asarray(kernel / kernel.sum())


def _region(axis: Axis, place: Any) -> NDArray[np.bool_]:
    """Which bins (bins,) contain a value, or have centres in a range; a range on a circle may cross the seam."""
    if np.ndim(place) == 0:
        return np.asarray(np.arange(axis.bins) == axis.index(np.array([place], dtype=np.float64))[0])
    if np.shape(place) != (2,):
        raise OptionError(f"Expected a zero at a value or in a range (low, high); got {place!r}.")
    low, high = (float(end) for end in place)
    if axis.periodic:
        turn = axis.high - axis.low
        if high - low >= turn:
            return np.full(axis.bins, True)
        return np.asarray(np.mod(axis.centers - low, turn) <= np.mod(high - low, turn))
    return np.asarray((axis.centers >= low) & (axis.centers <= high))


def _extremes(
    ensemble: Ensemble,
    index: NDArray[np.int64],
    shares: Array,
    zero: Array,
    errors: Array,
    replicates: int,
    seed: int,
) -> Array:
    """The largest deviation of any bin in standard errors, for each bootstrap replicate: (replicates,)."""
    bin_of = torch.from_numpy(index) + 1  # bin 0 is outside
    known = torch.from_numpy((shares > 0) & np.isfinite(errors) & (errors > 0))
    if not known.any():
        return np.full(replicates, np.inf)
    part, kernel, scale = (torch.from_numpy(array) for array in (shares, zero, errors))

    def largest(weights: torch.Tensor) -> torch.Tensor:
        drawn = torch.bincount(bin_of, weights, minlength=len(shares) + 1)[1:]
        deviation = (
            drawn / part / drawn.sum() * part.sum() - (drawn @ kernel) / (part @ kernel) / drawn.sum() * part.sum()
        )
        return (deviation.abs() / scale)[known].max()

    logs, groups = ensemble.weighting
    random = torch.Generator().manual_seed(seed)
    return np.asarray(importance.bootstrap(largest, logs, replicates, random, groups).numpy())
