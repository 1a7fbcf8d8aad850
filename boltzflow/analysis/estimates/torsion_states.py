"""The states of a torsion: arcs of its circle, by convention, or between the minima of its density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from boltzflow.analysis.estimates.basins import POSITIVE_PHI
from boltzflow.arrays import Array
from boltzflow.molecules import NamedTorsion

_GRID = 360  # points of the density
_SMOOTHING = math.radians(8.0)  # standard deviation of the kernel
_BARRIER = 1.0  # kT: a state is separated from its neighbours by more
_FEWEST = 20.0  # effective frames of a state: the least for which an error can be trusted
_EMPTY = 1e-6  # of the highest density: less is rounding


@dataclass(frozen=True)
class TorsionStates:
    """Arcs that divide the circle of a torsion; every value belongs to one.

    Attributes:
        names: of the states, such as "gauche+", "trans" or "-80°".
        lows: (states,) rad, ascending, where each arc begins; it ends where the next begins, the last at the first.
        folds: the number of equivalent values on the circle, see `NamedTorsion`.
    """

    names: tuple[str, ...]
    lows: tuple[float, ...]
    folds: int = 1

    @property
    def period(self) -> float:
        """The period of the torsion, rad."""
        return 2 * math.pi / self.folds

    def ends(self, state: int) -> tuple[float, float]:
        """Where an arc begins and ends, rad; beyond π for the arc that crosses it."""
        return self.lows[state], self.lows[state + 1] if state + 1 < len(self.lows) else self.lows[0] + self.period

    def labels(self, angles: Array) -> NDArray[np.int64]:
        """The index of the state of each angle (rad), of the same shape.

        >>> STAGGERED.labels(np.radians([-60.0, 60.0, 180.0, -179.0, 0.0]))
        array([0, 1, 2, 2, 1])
        """
        turned = self.lows[0] + np.mod(np.asarray(angles, np.float64) - self.lows[0], self.period)
        # Rounding may turn an angle just below the first arc by a whole period.
        return np.searchsorted(self.lows, turned, "right").clip(1) - 1


STAGGERED = TorsionStates(("gauche-", "gauche+", "trans"), tuple(np.radians([-120.0, 0.0, 120.0]).tolist()))
"""Rotamers about a bond between tetrahedral atoms."""

_PHI = TorsionStates(("positive", "negative"), POSITIVE_PHI)
_OMEGA = TorsionStates(("cis", "trans"), (-math.pi / 2, math.pi / 2))
_GLYCOSIDIC = TorsionStates(("syn", "anti"), (-math.pi / 2, math.pi / 2))
_CONVENTIONS = {"phi": _PHI, "omega": _OMEGA, "chi": _GLYCOSIDIC}


def torsion_states(torsion: NamedTorsion, angles: Array, weights: Array) -> TorsionStates:
    """The states of a torsion.

    By convention: φ positive (0 to 2.2 rad) or negative; ω cis or trans; the glycosidic χ syn or anti; gauche−, gauche+
    and trans (−120° to 0°, 0° to 120°, the rest) about a bond between tetrahedral atoms. All others: arcs between the
    minima of the weighted density (Gaussian kernel of 8°), named by their peaks in steps of 10°. A state is separated
    from its neighbours by more than 1 kT and holds at least 20 effective frames; a smaller one belongs to the
    neighbour with the lower barrier. These boundaries depend on the samples, on no random number.

    Args:
        torsion: gives the convention and the number of equivalent values.
        angles: (n,) rad.
        weights: (n,) not negative.

    >>> import boltzflow as bf
    >>> phi, psi = bf.molecules.rotatable_torsions(bf.load_system("alanine_dipeptide"))[1:3]
    >>> angles = np.radians(np.tile([-45.0, -35.0, 145.0, 155.0], 50))
    >>> torsion_states(psi, angles, np.ones(200)).names, torsion_states(phi, angles, np.ones(200)).names
    (('-40°', '150°'), ('positive', 'negative'))
    """
    if torsion.kind in _CONVENTIONS:
        return _CONVENTIONS[torsion.kind]
    return STAGGERED if torsion.staggered else _by_density(angles, weights, torsion.folds)


class _Basin(NamedTuple):
    """A peak of the density, and the barrier to the next: indices of the grid, and densities."""

    peak: int
    barrier: int
    height: float
    saddle: float
    weight: float
    square: float  # sum of squared weights

    @property
    def frames(self) -> float:
        return self.weight**2 / self.square if self.square > 0.0 else 0.0

    def joined(self, after: Self) -> _Basin:
        """This basin and the one behind its barrier."""
        height, peak = max((self.height, self.peak), (after.height, after.peak))
        weight, square = self.weight + after.weight, self.square + after.square
        return _Basin(peak, after.barrier, height, after.saddle, weight, square)


def _by_density(angles: Array, weights: Array, folds: int) -> TorsionStates:
    step = 2 * math.pi / folds / _GRID
    cells = np.floor((angles + math.pi) / step).astype(np.int64) % _GRID
    sums, squares = (np.bincount(cells, w, _GRID).astype(np.float64) for w in (weights, weights**2))
    basins = _basins(_smoothed(sums, _SMOOTHING * folds), sums, squares)
    while len(basins) > 1:
        # The barrier in front of a basin is that of the one before it.
        saddles = [max(basin.saddle, basins[k - 1].saddle) for k, basin in enumerate(basins)]
        depth = [math.log(basin.height / saddle) for basin, saddle in zip(basins, saddles, strict=True)]
        lowest = min(range(len(basins)), key=lambda k: depth[k])
        if depth[lowest] >= _BARRIER:
            lowest = min(range(len(basins)), key=lambda k: basins[k].frames)
            if basins[lowest].frames >= _FEWEST:
                break
        first = lowest if basins[lowest].saddle >= basins[lowest - 1].saddle else (lowest - 1) % len(basins)
        basins = [*basins[first:], *basins[:first]]
        basins = [basins[0].joined(basins[1]), *basins[2:]]
    if len(basins) == 1:
        return TorsionStates(_named([basins[0].peak], folds), (-math.pi,), folds)
    # An arc begins behind the barrier of the basin before it.
    arcs = sorted((basins[k - 1].barrier, basin.peak) for k, basin in enumerate(basins))
    lows = tuple(-math.pi + step * barrier for barrier, _ in arcs)
    return TorsionStates(_named([peak for _, peak in arcs], folds), lows, folds)


def _smoothed(sums: Array, width: float) -> Array:
    """Circular convolution with a Gaussian of a width in rad of the folded circle."""
    frequencies = np.arange(_GRID // 2 + 1)
    smooth = np.fft.irfft(np.fft.rfft(sums) * np.exp(-0.5 * (frequencies * width) ** 2), _GRID)
    found: Array = np.maximum(smooth, _EMPTY * smooth.max())
    return found


def _basins(density: Array, sums: Array, squares: Array) -> list[_Basin]:
    """All peaks around the circle, each with the lowest point between it and the next."""
    rising = density > np.roll(density, 1)
    peaks = np.flatnonzero(rising & (density >= np.roll(density, -1))).tolist() or [int(density.argmax())]
    barriers, saddles = [], []
    for peak, following in zip(peaks, [*peaks[1:], peaks[0] + _GRID], strict=True):
        between = np.arange(peak, following + 1) % _GRID
        saddles.append(float(density[between].min()))
        flat = between[density[between] == saddles[-1]]  # empty stretches are flat: their middle
        barriers.append(int(flat[len(flat) // 2]))
    found = []
    for k, (peak, barrier, saddle) in enumerate(zip(peaks, barriers, saddles, strict=True)):
        width = (barrier - barriers[k - 1] - 1) % _GRID + 1
        cells = (barriers[k - 1] + np.arange(width)) % _GRID
        weight, square = float(sums[cells].sum()), float(squares[cells].sum())
        found.append(_Basin(peak, barrier, float(density[peak]), saddle, weight, square))
    return found


def _named(peaks: Sequence[int], folds: int) -> tuple[str, ...]:
    """Names of states by the angles of their peaks, in the coarsest steps that tell them apart."""
    degrees = [math.degrees(-math.pi + (peak + 0.5) * 2 * math.pi / folds / _GRID) for peak in peaks]
    for step in (10, 5, 1, 360 / folds / _GRID):
        names = tuple(_angles(step * round(angle / step), folds) for angle in degrees)
        if len(set(names)) == len(names):
            break
    return names


def _angles(angle: float, folds: int) -> str:
    """An angle in degrees and those equivalent to it.

    >>> _angles(-180, 1), _angles(-90, 2), _angles(30, 2)
    ('180°', '±90°', '-150°/30°')
    """
    turned = sorted({180 - (180 - angle - k * 360 / folds) % 360 for k in range(folds)})
    if len(turned) == 2 and turned[0] == -turned[1]:
        return f"±{turned[1]:g}°"
    return "/".join(f"{value:g}°" for value in turned)
