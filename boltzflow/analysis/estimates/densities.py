"""Densities of collective variables from weighted samples: histograms and kernel density estimates with errors."""

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
_SPAN = 16.0  # weighted standard deviations of a line that are mapped to a circle to choose a bandwidth
_SIGNIFICANT = 3.0  # a Fourier power above this multiple of the noise belongs to the density
_SILENT = 6  # the search ends after this many frequencies of noise: a density may have up to sixfold symmetry


@dataclass(frozen=True)
class Density:
    """A probability density along a collective variable.

    Attributes:
        axis: the density is given at the centres of its bins. It is normalised over all samples, including those beyond
            the ends.
        values: (bins,) per unit of the axis.
        errors: standard errors (delta method); in empty bins of a histogram that of one effective sample. Errors of a
            kernel density estimate include its bias.
        bandwidth: the width of the kernel or of the bins, in the unit of the axis.
    """

    axis: Axis
    values: Array
    errors: Array
    bandwidth: float


def histogram(ensemble: Ensemble, values: Observable, axis: Axis) -> Density:
    """The mean density in each bin.

    Args:
        ensemble: n frames, with their weights and groups.
        values: in the unit of the axis, as in `Ensemble.mean`: a function of the trajectory, or (n,).
        axis: with its bins.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.

    >>> ensemble = Ensemble(np.zeros((4, 1, 3)), np.zeros(4), 300.0)
    >>> histogram(ensemble, [0.1, 0.2, 0.7, 1.5], Axis(0.0, 1.0, bins=2)).values
    array([1. , 0.5])
    """
    bin_of = torch.from_numpy(axis.index(collective_variable(ensemble, values)))
    shares, errors = _means(ensemble, (bin_of == b for b in range(axis.bins)))
    return Density(axis, shares / axis.width, errors / axis.width, axis.width)


def kernel_density(ensemble: Ensemble, values: Observable, axis: Axis, bandwidth: float | None = None) -> Density:
    """A kernel density estimate: a Gaussian on each sample of a line, a von Mises density on each sample of a circle.

    By default the bandwidth h (σ of the Gaussian, 1/√κ of the von Mises density) minimises the expected mean integrated
    square error. This error is estimated from the Fourier powers of the samples, minus the noise 1/n_eff = Σw²/(Σw)²;
    frequencies that contain only noise are left out (Chiu 1991, DOI 10.1214/aos/1176348376). Unlike rules that assume
    one Gaussian, this does not merge narrow basins.

    Smoothing flattens peaks and fills valleys. At the best h this bias is as large as the scatter. Errors are therefore
    the root of the sum of both squares, with the bias estimated by a second smoothing. They are at least those of one
    effective sample (or group) spread over the kernel. Near a bound such as r ≥ 0 with many samples the density is
    smeared beyond the bound: use a histogram there.

    Args:
        ensemble: n frames, with their weights and groups; the bandwidth treats them as independent.
        values: in the unit of the axis, as in `Ensemble.mean`: a function of the trajectory, or (n,).
        axis: the centres of its bins are where the density is given.
        bandwidth: in the unit of the axis.

    Raises:
        ShapeError: if there is not one value for each frame.
        NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
        OptionError: if the bandwidth is not positive.
        InsufficientDataError: if all samples on a line have one value and no bandwidth is given.

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
    """Weighted means of k columns (n,) and their errors, (k,) each; one by one, since a matrix would be large."""
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
    """Maps the line to a circle that is far longer than the density is wide."""
    if np.ptp(values[weights > 0]) == 0.0:
        raise InsufficientDataError("Expected samples with more than one value, or a bandwidth; got neither.")
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
    # The kernel's transform: that of a Gaussian, which equals a von Mises density except for the widest.
    kept = np.exp(-0.5 * np.square(widths[:, None] * frequencies))
    risk = np.square(1 - kept) @ signal + noise * (np.square(kept) @ (1 - np.minimum(signal, 1.0)))
    return float(widths[risk.argmin()])
