"""Densities of collective variables from weighted samples: histograms and kernel estimates, with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import i0e

from boltzflow.analysis.axes import Axis, collective_variable
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import InsufficientDataError, OptionError

_GRID = 4096  # points of the circle for Fourier sums
_SPAN = 16.0  # weighted standard deviations of a line that are laid around a circle to choose a bandwidth
_SIGNIFICANT = 3.0  # a Fourier power so many times that of noise is one of the density's
_SILENT = 6  # so many frequencies without one end the search: a density may have up to sixfold symmetry


@dataclass(frozen=True)
class Density:
    """A probability density along a collective variable.

    Attributes:
        axis: where it is given, at the centres of the bins; all samples count, those beyond its ends too.
        values: (bins,) per unit of the axis.
        errors: their standard errors (delta method); where a histogram is empty, that of one effective sample. Those of
            a kernel estimate hold its bias too.
        bandwidth: the kernel's width, or that of the bins, in the axis' unit.
    """

    axis: Axis
    values: Array
    errors: Array
    bandwidth: float


def histogram(ensemble: Ensemble, values: Observable, axis: Axis) -> Density:
    """The mean density in each bin.

    Args:
        ensemble: n frames, with their weights and groups.
        values: in the axis' unit, as in `Ensemble.mean`: a function of the trajectory, or (n,).
        axis: with its bins.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a value is not finite where one is.

    >>> ensemble = Ensemble(np.zeros((4, 1, 3)), np.zeros(4), 300.0)
    >>> histogram(ensemble, [0.1, 0.2, 0.7, 1.5], Axis(0.0, 1.0, bins=2)).values
    array([1. , 0.5])
    """
    bin_of = torch.from_numpy(axis.index(collective_variable(ensemble, values)))
    shares, errors = _means(ensemble, (bin_of == b for b in range(axis.bins)))
    return Density(axis, shares / axis.width, errors / axis.width, axis.width)


def kernel_density(ensemble: Ensemble, values: Observable, axis: Axis, bandwidth: float | None = None) -> Density:
    """A smooth density: a Gaussian on each sample of a line, a von Mises density on each of a circle.

    Unless it is given, the bandwidth h (σ of the Gaussian, 1/√κ of the von Mises) is the one of least expected mean
    integrated square error, as the density's own Fourier powers have it, less what 1/n_eff = Σw²/(Σw)² brings in as
    noise; frequencies above which there is nothing but noise are left out (Chiu 1991, DOI 10.1214/aos/1176348376).
    Unlike rules that take the density for one Gaussian it does not smear several narrow basins into each other.

    Smoothing flattens peaks and fills valleys. This bias is of the size of the scatter at the best h, so errors are the
    root of the sum of both squared, the bias as a second smoothing shows it; where hardly a sample is near, one
    effective sample, or group, spread over the kernel. A bound such as r ≥ 0 that samples crowd is smeared over beyond
    that: use a histogram there.

    Args:
        ensemble: n frames, with their weights and groups; the bandwidth is chosen as if all were independent.
        values: in the axis' unit, as in `Ensemble.mean`: a function of the trajectory, or (n,).
        axis: the centres of its bins are where the density is given.
        bandwidth: in the axis' unit.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a value is not finite where one is.
        OptionError: if the bandwidth is not positive.
        InsufficientDataError: if all samples of a line are in one place and no bandwidth is given.

    >>> angle = np.random.default_rng(0).vonmises(0.0, 4.0, 5000)
    >>> ensemble = Ensemble(np.zeros((5000, 1, 3)), np.zeros(5000), 300.0)
    >>> density = kernel_density(ensemble, angle, Axis.torsion(bins=72))
    >>> round(float(density.values.sum() * density.axis.width), 6)
    1.0
    """
    weights = ensemble.weights
    places = np.where(weights > 0, collective_variable(ensemble, values), 0.0)
    scale = 2 * np.pi / (axis.high - axis.low) if axis.periodic else 1.0
    if bandwidth is None:
        width = _circle_bandwidth(places * scale, weights) if axis.periodic else _line_bandwidth(places, weights)
    else:
        width = bandwidth * scale
    if not 0.0 < width < np.inf:
        raise OptionError(f"Expected a positive bandwidth; got {width / scale:g}.")
    kernel = _von_mises if axis.periodic else _gaussian

    def smooth(width: float) -> tuple[Array, Array]:
        return _means(ensemble, (torch.from_numpy(kernel((x - places) * scale, width)) for x in axis.centers))

    density, errors = smooth(width)
    twice, _ = smooth(math.sqrt(2) * width)
    effective = importance.effective_groups(*ensemble.weighting)
    one_sample = 1.0 / (effective * math.sqrt(2 * math.pi) * width)
    errors = np.maximum(np.hypot(errors, twice - density), one_sample)
    return Density(axis, density * scale, errors * scale, width / scale)


def _means(ensemble: Ensemble, columns: Iterable[torch.Tensor]) -> tuple[Array, Array]:
    """Weighted means of k columns (n,) and their errors, one by one, for a matrix of all would be large: (k,) each."""
    weighting = ensemble.weighting
    means, errors = zip(*(importance.weighted_mean(column, *weighting) for column in columns), strict=True)
    return torch.stack(means).numpy(), torch.stack(errors).numpy()


def _gaussian(difference: Array, width: float) -> Array:
    density: Array = np.exp(-0.5 * (difference / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return density


def _von_mises(difference: Array, width: float) -> Array:
    """exp(κ cos d) / (2π I₀(κ)) with κ = 1/width²."""
    kappa = width**-2
    density: Array = np.exp(kappa * (np.cos(difference) - 1)) / (2 * np.pi * i0e(kappa))
    return density


def _line_bandwidth(values: Array, weights: Array) -> float:
    """On a circle that is far longer than the density is wide a line is no different."""
    if np.ptp(values[weights > 0]) == 0.0:
        raise InsufficientDataError("Expected samples at more than one place; give a bandwidth.")
    mean = weights @ values
    scale = 2 * np.pi / (_SPAN * np.sqrt(weights @ (values - mean) ** 2))
    return float(_circle_bandwidth((values - mean) * scale, weights) / scale)


def _circle_bandwidth(angles: Array, weights: Array) -> float:
    """In rad. angles: (n,); weights: (n,), their sum 1."""
    place = np.floor(angles * (_GRID / (2 * np.pi))).astype(np.int64) % _GRID
    transform = np.fft.rfft(np.bincount(place, weights, minlength=_GRID))[1:]
    noise = np.sum(weights**2)
    power = np.abs(transform) ** 2
    silent = np.convolve(power <= _SIGNIFICANT * noise, np.ones(_SILENT), "valid") == _SILENT
    last = int(silent.argmax()) if silent.any() else len(power)
    signal = np.maximum(power - noise, 0.0)
    signal[last:] = 0.0
    frequencies = np.arange(1, len(power) + 1)
    widths = np.geomspace(2.0 / len(power), 2.0, 400)
    # What the kernel leaves of each frequency: a Gaussian's, which is a von Mises' but for the widest.
    kept = np.exp(-0.5 * np.square(widths[:, None] * frequencies))
    risk = np.square(1 - kept) @ signal + noise * (np.square(kept) @ (1 - np.minimum(signal, 1.0)))
    return float(widths[risk.argmin()])
