"""Bounds, initial values and thermal widths of internal coordinates, from the energies along them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.geometry import angle
from boltzflow.coordinates.profile import LARGEST_BEND, Profiles
from boltzflow.coordinates.tree import NEARLY_STRAIGHT
from boltzflow.coordinates.zmatrix import LARGEST_ANGLE, ZMatrix, measure, polar_angle
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.units import thermal_energy

HOTTEST = 1200.0
"""Temperature in K up to which the bounds contain thermal frames."""

_CLOSEST = 0.1  # nm: smallest distance of the heads of two molecules
_POLE = 1e-3  # rad: excluded around the poles of a sphere, 5e-7 of its area
_NOTHING = 1e-8  # probability that is too small to report
_LOST = 1e-5  # probability that bends may cut off
_TORSION_SIGMAS = 14.0  # half-width of a torsion's interval in thermal widths at 300 K, from dynamics of peptides


def physical_coordinates(
    zmatrix: ZMatrix,
    graph: BondGraph,
    positions: Any,
    profiles: Profiles,
    temperature: float,
    separation: float,
) -> Iterator[tuple[Coordinate, float, float]]:
    """Each length (nm), angle and torsion (rad) with its initial value and thermal width, in the order of rows.

    Arguments are those of `InternalCoordinates.from_structure`.
    """
    rows, names, linear = zmatrix.rows, zmatrix.names, set(zmatrix.linear)
    free = [i for i, torsion in enumerate(zmatrix.torsions, 3) if torsion.kind == "circle"]
    reference = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    lengths, angles, torsions = measure(rows, reference, zmatrix.linear, free)
    rings = graph.ring_bonds
    kt, hot = thermal_energy(temperature), thermal_energy(max(HOTTEST, temperature))

    for (i, j, *_), value in zip(rows[1:], lengths, strict=True):
        if zmatrix.is_link(i, j):
            low, high = min(_CLOSEST, value / 2), value + separation
            yield Coordinate("interval", low, high, f"distance {names[i]} {names[j]}"), value, math.inf
            continue
        center, width, low, high = profiles.length(i, j, value).limits(kt, hot)
        yield Coordinate("interval", low, high, f"bond {names[i]} {names[j]}"), center, width

    bending: dict[int, tuple[float, float, float]] = {}
    for row, ((i, j, k, _), value) in enumerate(zip(rows[2:], angles, strict=True), 2):
        name = f"angle {names[i]} {names[j]} {names[k]}"
        if zmatrix.is_link(i, j) or zmatrix.is_link(j, k):
            yield Coordinate("interval", _POLE, math.pi - _POLE, name), value, math.inf
        elif row in linear:
            profile = profiles.angle(i, j, k, polar_angle(value, torsions[row - 3]))
            middle, _, low, _ = profile.limits(kt, hot)
            reach, width = min(math.pi - low, LARGEST_BEND), profile.bend_width(kt)
            off_line = 0.0 if middle > LARGEST_ANGLE else 1.0
            bending[row] = reach, width, off_line * torsions[row - 3]
            bend = Coordinate("interval", -reach, reach, f"bend {names[i]} {names[j]} {names[k]}")
            yield bend, off_line * value, width
        else:
            center, width, low, high = profiles.angle(i, j, k, value).limits(kt, hot)
            if not rings.isdisjoint([frozenset((i, j)), frozenset((j, k))]):
                center = value
            yield Coordinate("interval", low, high, name), center, width

    for row, (torsion, value) in enumerate(zip(zmatrix.torsions, torsions, strict=True), 3):
        if row in linear:
            reach, width, center = bending[row]
            yield Coordinate("interval", -reach, reach, torsion.name), center, width
            continue
        middle, half = (torsion.low + torsion.high) / 2, (torsion.high - torsion.low) / 2
        width = half / _TORSION_SIGMAS * math.sqrt(kt / thermal_energy(300.0))
        center = middle + math.remainder(value - middle, 2 * math.pi)
        is_stiff = torsion.kind == "interval" and not graph.changes_pucker(rows[row])
        yield torsion, center, width if is_stiff else math.inf


def cut_off(
    zmatrix: ZMatrix, domain: Domain, numbers: Iterable[int], positions: Any, profiles: Profiles, temperature: float
) -> dict[str, float]:
    """The probability that each length and angle lies outside its bounds, from the energy along this coordinate.

    Args:
        zmatrix: of the coordinates.
        domain: bounds of all 3N−6 lengths, angles and torsions.
        numbers: indices of the coordinates that vary within these bounds.
        positions: the reference structure (N, 3), nm; it gives the values of all other coordinates.
        profiles: energies.
        temperature: K.
    """
    n = zmatrix.n_atoms
    kt, hot = thermal_energy(temperature), thermal_energy(max(HOTTEST, temperature))
    reference = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    lengths, angles, torsions = measure(zmatrix.rows, reference, zmatrix.linear)
    found = {}
    for number in numbers:
        coordinate = domain.coordinates[number]
        row = number + 1 if number < n - 1 else number - n + 3
        if number >= 2 * n - 3 or zmatrix.is_link(*zmatrix.rows[row][:2]):
            continue
        i, j, k, _ = zmatrix.rows[row]
        if number < n - 1:
            lost = profiles.length(i, j, lengths[row - 1]).outside(coordinate.low, coordinate.high, kt, hot)
        elif zmatrix.is_link(j, k):
            continue
        elif row in zmatrix.linear:
            value = polar_angle(angles[row - 2], torsions[row - 3])
            lost = profiles.angle(i, j, k, value).outside_of_bends(coordinate.high, kt)
        else:
            lost = profiles.angle(i, j, k, angles[row - 2]).outside(coordinate.low, coordinate.high, kt, hot)
        if lost > _NOTHING:
            found[coordinate.name] = lost
    return found


def straight_angles(
    graph: BondGraph, reference: Tensor, profiles: Profiles, temperature: float
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Angles (end, middle, end) that are linear according to their energy, and those too soft for bend coordinates.

    Bend coordinates exclude structures far from the line. If they would exclude a probability above 1e-5 at the hottest
    temperature, the atom keeps an angle coordinate, which excludes only a very small region around the line itself. If
    the middle atom has further neighbours, they bound the torsion of the end atom. Then the angle counts as linear if
    it crosses the line with a probability above 1e-5 and bends exclude less than that.
    """
    hot = thermal_energy(max(HOTTEST, temperature))
    linear, bent = [], []
    for middle, around in enumerate(graph.neighbours):
        for i, k in combinations(around, 2):
            value = float(angle(*reference[[i, middle, k]]))
            profile = profiles.angle(i, middle, k, value)
            center, width, *_ = profile.limits(hot, hot)
            is_straight = max(center, value) > LARGEST_ANGLE
            crossing = math.erfc((math.pi - max(center, value)) / width / math.sqrt(2)) / 2 if len(around) > 2 else 0.0
            if not is_straight and crossing < _LOST:
                continue
            lost = profile.outside_of_bends(LARGEST_BEND, hot)
            if is_straight and lost > _LOST and value < math.pi - NEARLY_STRAIGHT and not crossing > lost:
                bent.append((i, middle, k))
            elif is_straight or crossing > lost:
                linear.append((i, middle, k))
    return linear, bent
