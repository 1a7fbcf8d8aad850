"""The energy along one length or angle: its bounds, and the probability outside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]
"""Lengths in nm or angles in rad (n,), float64 → energies (n,) in kJ/mol, up to a constant; infinite if forbidden."""

Energies = Callable[[Sequence[int]], "Energy | None"]
"""Two atoms of a length, or three of an angle → the energy along it; None if only harmonic terms act."""

SIGMAS = 6.0
"""Half-width of the bounds of angles, in thermal widths of a parabola at the hottest temperature."""

POLE = 1e-4
"""Smallest distance of an angle from 0 and π, in rad, where torsions are undefined: excludes at most 5e-9 rad² each."""

LARGEST_BEND = 1.41
"""Largest bend: √2 times it still lies in the disk of radius 2 onto which a sphere is projected."""

_ROOM = {"length": 2.0, "angle": 1.0}  # in units of the distance at which the energy has risen
_DEPTH = SIGMAS**2 / 2  # kT: the energy of a parabola at the bounds
_SHORTEST = 1e-3  # times a length: below it lies 1e-9 of a uniform density
_LONGEST = 100.0  # times a length: a confining energy must have risen there
_NEAREST, _PER_SIDE = 1e-4, 96  # offsets from a middle: smallest offset, and number on either side
_INSIDE = 513  # points between bounds


_BOND_STIFFNESS = 2.5e5  # kJ/mol/nm², if there is no term
_ANGLE_STIFFNESS = 400.0  # kJ/mol/rad²


class Limits(NamedTuple):
    """The range of a coordinate: the value of lowest energy, the thermal width, and bounds."""

    center: float
    width: float
    low: float
    high: float


@dataclass(frozen=True)
class Parabola:
    """The energy k (x − x₀)² / 2."""

    center: float
    stiffness: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.stiffness / 2 * (x - self.center) ** 2


@dataclass(frozen=True)
class Profile:
    """The energy along one coordinate around its value in the reference structure.

    Attributes:
        energy: of the coordinate.
        kind: "length", with the volume element r², or "angle", with the volume element sin θ.
        value: the value in the reference structure.
        separation: how far a length without a confining energy may exceed `value`, nm.
    """

    energy: Energy
    kind: Literal["length", "angle"]
    value: float
    separation: float = 0.5

    def limits(self, kt: float, hot: float) -> Limits:
        """Center, thermal width at kT, and bounds for the hottest kT; both in kJ/mol.

        At the bounds the energy has risen by 18 kT above its minimum at the hottest temperature (for a parabola: 6
        thermal widths). The same distances apply around the reference value. The bounds of lengths are twice as far
        from the center, because atoms around a crowded centre stretch their bonds together. A length without a
        confining energy ends `separation` beyond the reference.
        """
        lowest, highest = self._span(hot)
        if isinstance(self.energy, Parabola):
            center, width = self.energy.center, math.sqrt(kt / self.energy.stiffness)
            reach = SIGMAS * math.sqrt(hot / self.energy.stiffness)
            low, high = center - reach, center + reach
        else:
            low, high = self._basin(hot, lowest, highest)
            x = torch.linspace(low, high, _INSIDE, dtype=torch.float64)
            u = self._energies(x)
            center = float(x[u.argmin()])
            weights = torch.exp((u.min() - u) / kt)
            width = _spread(x, weights)
            if not low < center < high:
                center = float((x * weights * self._volume(x)).sum() / (weights * self._volume(x)).sum())
        room, shift = _ROOM[self.kind], self.value - center
        low, high = center - room * (center - low), center + room * (high - center)
        return Limits(center, width, max(low + min(shift, 0.0), lowest), min(high + max(shift, 0.0), highest))

    def outside(self, low: float, high: float, kt: float, hot: float) -> float:
        """The probability at kT that the coordinate lies outside bounds, from this energy.

        A length that the energy does not confine at the hottest kT ends `separation` beyond the reference.
        """
        x, log_p = self._log_density(low, high, kt, hot)
        density = (log_p - log_p.max()).exp()
        total = float(torch.trapezoid(density, x))
        inside = (x >= low) & (x <= high)
        return max(0.0, 1.0 - float(torch.trapezoid(density[inside], x[inside])) / total)

    def outside_of_bends(self, largest: float, kt: float) -> float:
        """The probability at kT that one of the two bends that replace an angle exceeds the largest bend."""
        edge = math.pi - 2 * math.asin(largest / 2)
        x, log_p = self._log_density(edge, math.pi - POLE, kt, kt)
        density = (log_p - log_p.max()).exp()
        radius = 2 * (x / 2).cos()
        part = (4 / math.pi * torch.acos((largest / radius).clamp(max=1.0))).clamp(max=1.0)
        return float(torch.trapezoid(part * density, x) / torch.trapezoid(density, x))

    def bend_width(self, kt: float) -> float:
        """The thermal width at kT of each of the two bends that replace the angle."""
        if isinstance(self.energy, Parabola):
            return math.sqrt(kt / self.energy.stiffness)
        x = torch.linspace(*self._span(kt), _INSIDE, dtype=torch.float64)
        log_p = self._volume(x).log() - self._energies(x) / kt
        squares = (2 * (x / 2).cos()) ** 2
        return math.sqrt(float(torch.softmax(log_p, 0) @ squares) / 2)

    def _span(self, hot: float) -> tuple[float, float]:
        """The range of possible values."""
        lowest, highest = natural_range(self.kind, self.value)
        if self.kind == "length" and not isinstance(self.energy, Parabola):
            here, far = self._energies(torch.tensor([self.value, highest], dtype=torch.float64)).tolist()
            if not far > here + _DEPTH * hot:
                return lowest, self.value + self.separation
        return lowest, highest

    def _basin(self, hot: float, lowest: float, highest: float) -> tuple[float, float]:
        """The range in which the energy is within 18 kT of its minimum."""
        bottom = self.value
        for _ in range(2):  # the second time with fine steps about the minimum
            x = around(bottom, lowest, highest)
            u = self._energies(x)
            place = _descend(u.tolist(), int((x - bottom).abs().argmin()))
            bottom = float(x[place])
        first = _above_holes(u, place, _DEPTH * hot)
        x, u = x[first:], u[first:]
        level = u.min() + _DEPTH * hot
        is_within = (u <= level).nonzero().flatten()
        start, end = int(is_within[0]), int(is_within[-1])
        low = _crossing(x, u - u.min(), start, start - 1, _DEPTH * hot) if start > 0 else float(x[0])
        high = _crossing(x, u - u.min(), end, end + 1, _DEPTH * hot) if end < len(x) - 1 else float(x[-1])
        return low, high

    def _log_density(self, low: float, high: float, kt: float, hot: float) -> tuple[Tensor, Tensor]:
        """Points within and beyond the bounds, ascending, and the logarithm of the density at them."""
        lowest, highest = self._span(hot)
        inside = torch.linspace(low, high, _INSIDE, dtype=torch.float64)
        x = torch.cat([around(low, lowest, low)[:-1], inside, around(high, high, min(highest, _LONGEST * high))[1:]])
        u = self._energies(x)
        least = int(torch.where((x >= low) & (x <= high), u, torch.inf).argmin())
        first = _above_holes(u, least, _DEPTH * hot)
        x, u = x[first:], u[first:]
        return x, self._volume(x).log() - (u - u.min()) / kt

    def _volume(self, x: Tensor) -> Tensor:
        return x * x if self.kind == "length" else x.sin()

    def _energies(self, x: Tensor) -> Tensor:
        return torch.nan_to_num(self.energy(x).double(), nan=math.inf, posinf=math.inf, neginf=-math.inf)


class Profiles:
    """The profile of each length and angle.

    Args:
        bond_terms, angle_terms, energies, separation: as in `InternalCoordinates.from_structure`.
    """

    def __init__(
        self,
        bond_terms: Iterable[tuple[int, int, float, float]] = (),
        angle_terms: Iterable[tuple[int, int, int, float, float]] = (),
        energies: Energies | None = None,
        separation: float = 0.5,
    ) -> None:
        self._stretching = {frozenset((i, j)): Parabola(b, k) for i, j, b, k in bond_terms if k > 0}
        self._bending = {(frozenset((i, k)), j): Parabola(theta, c) for i, j, k, theta, c in angle_terms if c > 0}
        self._energies, self._separation = energies, separation

    def length(self, i: int, j: int, value: float) -> Profile:
        """The profile of the distance of atom i from atom j, which places it; `value`: in the reference, nm."""
        found = self._energies((i, j)) if self._energies else None
        parabola = self._stretching.get(frozenset((i, j)), Parabola(value, _BOND_STIFFNESS))
        return Profile(found or parabola, "length", value, self._separation)

    def angle(self, i: int, j: int, k: int, value: float) -> Profile:
        """The profile of the angle i–j–k, which places atom i; `value`: in the reference, rad."""
        found = self._energies((i, j, k)) if self._energies else None
        parabola = self._bending.get((frozenset((i, k)), j), Parabola(value, _ANGLE_STIFFNESS))
        return Profile(found or parabola, "angle", value)


def natural_range(kind: Literal["length", "angle"], value: float) -> tuple[float, float]:
    """The range in nm or rad in which a coordinate with a given reference value is evaluated."""
    return (POLE, math.pi - POLE) if kind == "angle" else (_SHORTEST * value, _LONGEST * value)


def around(middle: float, lowest: float, highest: float, per_side: int = _PER_SIDE) -> Tensor:
    """Points from the lowest to the highest, ascending, and denser near the middle."""
    steps = torch.linspace(0.0, 1.0, per_side, dtype=torch.float64)

    def offsets(reach: float) -> Tensor:
        nearest = min(_NEAREST * max(middle, _NEAREST), reach / 2)
        return nearest * (reach / nearest) ** steps if reach > 0 else steps[:0]

    below, above = offsets(middle - lowest), offsets(highest - middle)
    return torch.cat([middle - below.flip(0), torch.tensor([middle], dtype=torch.float64), middle + above])


def _descend(u: list[float], place: int) -> int:
    """The index of the local minimum downhill from a place."""
    while True:
        nearby = range(max(place - 1, 0), min(place + 2, len(u)))
        lower = min(nearby, key=u.__getitem__)
        if not u[lower] < u[place]:
            return place
        place = lower


def _above_holes(u: Tensor, place: int, depth: float) -> int:
    """The first index of a basin; at smaller values the energy may diverge, as between opposite charges."""
    deep = (u[:place] < u[place] - depth).nonzero().flatten()
    return int(deep[-1]) + 1 if len(deep) else 0


def _crossing(x: Tensor, u: Tensor, inner: int, outer: int, level: float) -> float:
    """Where an energy reaches a level between two points; exact for a parabola whose minimum is 0."""
    inside, outside = math.sqrt(float(u[inner])), math.sqrt(float(u[outer]))
    if not math.isfinite(outside):
        return float(x[outer])
    return float(x[inner] + (x[outer] - x[inner]) * (math.sqrt(level) - inside) / (outside - inside))


def _spread(x: Tensor, weights: Tensor) -> float:
    """Standard deviation of evenly spaced weighted points."""
    mean = (x * weights).sum() / weights.sum()
    return float((((x - mean) ** 2 * weights).sum() / weights.sum()).sqrt())
