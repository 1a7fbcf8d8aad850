"""Smooth densities over two torsions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from boltzflow.analysis.axes import Axis, collective_variable
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import OptionError

_SIGNIFICANT = 3.0  # standard errors by which the power of a ring of frequencies exceeds that of noise
_SILENT = 6  # the search ends after this many rings of noise: a density may have up to sixfold symmetry


@dataclass(frozen=True)
class TorusDensity:
    """A probability density over two angles.

    Attributes:
        axis: of both angles; the density is given at the centres of its bins.
        values: (bins, bins) per rad²; they sum to 1 with the area of a bin.
        bandwidth: standard deviation of the kernel in each direction, rad.
        effective_samples: (bins, bins), how many the kernel rests on: n_eff times the density and the kernel's area
            4π·bandwidth².
    """

    axis: Axis
    values: Array
    bandwidth: float
    effective_samples: Array

    @property
    def free_energies(self) -> Array:
        """−log of the density in kT, zero at its maximum; +inf where it is zero."""
        with np.errstate(divide="ignore"):
            found: Array = -np.log(self.values / self.values.max())
        return found


def torus_density(
    ensemble: Ensemble, x: Observable, y: Observable, bins: int = 72, bandwidth: float | None = None
) -> TorusDensity:
    """A kernel density estimate over two angles: the weighted histogram, smoothed by a normal density on the torus.

    By default the bandwidth minimises the expected mean integrated square error, estimated from the power of the
    histogram's Fourier transform, averaged over rings of one frequency, minus the noise 1/n_eff of the weights (Chiu
    1991, DOI 10.1214/aos/1176348376, in two dimensions). It is for pictures: smoothing fills valleys and flattens
    peaks, and there are no errors; numbers come from `free_energy_surface`.

    Args:
        ensemble: n frames, with their weights and groups.
        x, y: angles in rad, as in `Ensemble.mean`.
        bins: number of bins of each angle.
        bandwidth: in rad.

    Raises:
        ShapeError: if there is not one value of each angle for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has an angle that is not finite.
        OptionError: if the bandwidth is not positive, or there is no bin.

    >>> angles = np.random.default_rng(0).vonmises(0.0, 4.0, (2, 2000))
    >>> density = torus_density(Ensemble(np.zeros((2000, 1, 3)), np.zeros(2000), 300.0), *angles)
    >>> round(float(density.values.sum() * density.axis.width**2), 6)
    1.0
    """
    if bandwidth is not None and not 0.0 < bandwidth < math.inf:
        raise OptionError(f"Expected a positive bandwidth; got {bandwidth:g}.")
    axis = Axis.torsion(bins)
    rows, columns = (axis.index(collective_variable(ensemble, angle)) for angle in (x, y))
    used = (rows >= 0) & (columns >= 0)  # the others have no weight
    place = rows[used] * bins + columns[used]
    histogram = np.bincount(place, ensemble.weights[used], bins * bins).reshape(bins, bins)
    transform = np.fft.fft2(histogram)
    frequencies = np.fft.fftfreq(bins, 1 / bins)
    squares = frequencies[:, None] ** 2 + frequencies**2
    power = np.abs(transform) ** 2
    effective = importance.effective_groups(*ensemble.weighting)
    width = bandwidth or _best_width(power, squares, effective, axis.width / 8)
    # A kernel narrower than a bin rings below zero.
    smooth = np.maximum(np.fft.ifft2(transform * np.exp(-0.5 * width**2 * squares)).real, 0.0)
    density = smooth / (smooth.sum() * axis.width**2)
    return TorusDensity(axis, density, width, effective * density * 4 * math.pi * width**2)


def _best_width(power: Array, squares: Array, effective: float, narrowest: float) -> float:
    """The kernel's width of least expected square error. power: |transform|²; squares: |frequency|²."""
    noise = 1 / effective
    ring = np.sqrt(squares).round().astype(np.int64)
    counts = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), power.ravel()) / counts
    silent = mean <= noise * (1 + _SIGNIFICANT / np.sqrt(counts))
    quiet = np.convolve(silent, np.ones(_SILENT), "valid") == _SILENT
    signal = np.maximum(mean - noise, 0.0)
    signal[int(quiet.argmax()) if quiet.any() else len(signal) :] = 0.0
    widths = np.geomspace(narrowest, 2.0, 200)
    kept = np.exp(-0.5 * widths[:, None] ** 2 * np.arange(len(counts)) ** 2)
    risk = np.square(1 - kept) @ (counts * signal) + noise * np.square(kept) @ counts
    return float(widths[risk.argmin()])
