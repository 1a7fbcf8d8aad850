"""Histograms relative to a zero that is made of bins too, and the samples' contributions to their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.core.contributions import Contributions
from boltzflow.ensemble import Ensemble

_CHANCE = 2.0  # beyond log(frequencies): a Fourier power of this multiple of the noise is unlikely to be noise


@dataclass(frozen=True, eq=False)
class BinnedShares:
    """Weighted fractions in bins, in total and for each independent group.

    Attributes:
        shares: (bins,) fraction of all weight in each bin.
        group, bin, part: (pairs,), the weight of a group in a bin, for each pair with positive weight.
        groups: number of groups.
    """

    shares: Array
    group: NDArray[np.int64]
    bin: NDArray[np.int64]
    part: Array
    groups: int

    @classmethod
    def of(cls, ensemble: Ensemble, index: NDArray[np.int64], bins: int) -> BinnedShares:
        """index: (n,), −1 outside all bins."""
        inside = (index >= 0) & (ensemble.weights > 0)
        weights, place = ensemble.weights[inside], index[inside]
        if ensemble.groups is None:
            shares = np.bincount(place, weights, minlength=bins).astype(np.float64)
            return cls(shares, np.flatnonzero(inside), place, weights, len(ensemble))
        names, member = np.unique(ensemble.groups, return_inverse=True)
        pair, where = np.unique(member[inside] * bins + place, return_inverse=True)
        part = np.bincount(where, weights, minlength=len(pair)).astype(np.float64)
        shares = np.bincount(pair % bins, part, minlength=bins).astype(np.float64)
        return cls(shares, pair // bins, pair % bins, part, len(names))

    def deviations(self, zero: Array) -> Contributions:
        """First-order contributions of groups to log(fraction in each bin / fraction in the zero).

        zero: (bins,), the weight of each bin in the zero. Errors of empty bins are NaN.
        """
        share = self.shares @ zero
        of_zero = np.bincount(self.group, self.part * zero[self.bin], minlength=self.groups) / share
        with np.errstate(divide="ignore", invalid="ignore"):
            of_bin = self.part / self.shares[self.bin]
        both, alone = of_bin - of_zero[self.group], -of_zero[self.group]
        # Groups without weight in the bin contribute through the zero alone: the sum over all minus the other groups.
        second, third, fourth = (
            np.bincount(self.bin, both**m - alone**m, minlength=len(self.shares)) + np.sum((-of_zero) ** m)
            for m in (2, 3, 4)
        )
        empty = self.shares == 0.0
        second = np.where(empty, np.nan, second.clip(min=0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            skewness, carriers = third / second**1.5, second**2 / fourth
        one = len(np.unique(self.group)) == 1  # no scatter between groups
        second = np.where(one & ~empty, np.inf, second * self.groups / max(self.groups - 1, 1))
        return Contributions(
            error=torch.from_numpy(np.sqrt(second)),
            skewness=torch.from_numpy(np.nan_to_num(skewness)),
            carriers=torch.from_numpy(np.nan_to_num(carriers, nan=float(self.groups))),
            number=self.groups,
            shape=torch.full((len(self.shares),), -np.inf, dtype=torch.float64),
            tail=0,
        )


def smooth_maximum(shares: Array, periodic: tuple[bool, ...], effective: float) -> Array:
    """A Gaussian kernel over the bins, normalised to 1, centred where the smoothed histogram has its maximum.

    The highest of many bins is high partly by chance. The width of the Gaussian minimises the sum of noise and squared
    bias, estimated from the Fourier powers of the histogram (Chiu 1991, DOI 10.1214/aos/1176348376). If the bins differ
    only by chance, it covers all of them.

    Args:
        shares: fractions in bins on a grid of any dimension.
        periodic: for each axis, whether it is a circle.
        effective: the effective number of independent samples.
    """
    # An interval is mirrored to a circle, without a jump at its ends.
    sides = [(0, 0 if circle else n) for circle, n in zip(periodic, shares.shape, strict=True)]
    folded = np.pad(shares, sides, "symmetric")
    transform = np.fft.fftn(folded)
    frequencies = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in folded.shape), indexing="ij")
    squared = sum(np.square(f) for f in frequencies)
    noise = shares.sum() / effective * folded.size / shares.size
    power = np.square(np.abs(transform))
    significant = power > (np.log(power.size) + _CHANCE) * noise
    signal = np.where(significant, power - noise, 0.0)

    def kept(width: float) -> Array:
        return np.asarray(np.exp(-0.5 * width**2 * squared))

    def risk(width: float) -> float:
        left = kept(width)
        return float(np.sum(np.square(1 - left) * signal + np.square(left) * noise))

    width = min(np.geomspace(0.2, 2.0 * max(folded.shape), 100), key=risk)
    corner = tuple(slice(n) for n in shares.shape)
    smooth = np.fft.ifftn(transform * kept(width)).real[corner]
    peak = np.zeros_like(shares)
    peak[np.unravel_index(smooth.argmax(), shares.shape)] = 1.0
    point = np.pad(peak, sides)
    around = np.fft.ifftn(np.fft.fftn(point) * kept(width)).real
    for axis, (circle, n) in enumerate(zip(periodic, shares.shape, strict=True)):
        if not circle:
            there, back = np.split(around, [n], axis)
            around = there + np.flip(back, axis)
    kernel = around.clip(min=0.0)
    return np.asarray(kernel / kernel.sum())
