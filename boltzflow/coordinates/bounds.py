"""Bounds, start values and start widths of internal coordinates, from the force field's constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from boltzflow.coordinates.bond_graph import ring_bonds
from boltzflow.coordinates.zmatrix import ZMatrix, measure
from boltzflow.core.domain import Coordinate
from boltzflow.units import thermal_energy

HOTTEST = 1200.0
"""Temperature in K up to which thermal frames lie inside the bounds."""

SIGMAS = 6.0
"""Half-width of the bounds of lengths and angles, in thermal widths at `HOTTEST`."""

_SHORTEST = 0.2  # of the equilibrium length
_ANGLE_MARGIN = 0.05  # rad: angles stay this far from 0 and π, where the volume element vanishes
_CLOSEST = 0.1  # nm: the heads of two molecules come no closer
_POLE = 1e-3  # rad: what is left out of a sphere around its poles, 5e-7 of its area
_LARGEST_BEND = 1.2  # √2 times it is still in the disk, of radius 2, onto which a sphere is projected
_BOND_STIFFNESS = 2.5e5  # kJ/mol/nm², where the force field gives none
_ANGLE_STIFFNESS = 400.0  # kJ/mol/rad²
_TORSION_SIGMAS = 14.0  # thermal widths at 300 K in half of a torsion's interval, as in dynamics of peptides


def physical_coordinates(
    zmatrix: ZMatrix,
    bonds: Sequence[tuple[int, int]],
    positions: Any,
    bond_terms: Iterable[tuple[int, int, float, float]],
    angle_terms: Iterable[tuple[int, int, int, float, float]],
    temperature: float,
    separation: float,
) -> Iterator[tuple[Coordinate, float, float]]:
    """Each length (nm), angle and torsion (rad) with its start value and thermal width, in the order of rows.

    Arguments are those of `InternalCoordinates.from_structure`.
    """
    rows, names, linear = zmatrix.rows, zmatrix.names, set(zmatrix.linear)
    free = [i for i, torsion in enumerate(zmatrix.torsions, 3) if torsion.kind == "circle"]
    reference = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    lengths, angles, torsions = measure(rows, reference, zmatrix.linear, free)
    stretching = {frozenset((i, j)): (b, k) for i, j, b, k in bond_terms if k > 0}
    bending = {(frozenset((i, k)), j): (theta, c) for i, j, k, theta, c in angle_terms if c > 0}
    rings = ring_bonds(bonds, len(names))
    kt, hot = thermal_energy(temperature), thermal_energy(max(HOTTEST, temperature))

    for (i, j, *_), value in zip(rows[1:], lengths, strict=True):
        if zmatrix.is_link(i, j):
            low, high = min(_CLOSEST, value / 2), value + separation
            yield Coordinate("interval", low, high, f"distance {names[i]} {names[j]}"), value, math.inf
            continue
        center, stiffness = stretching.get(frozenset((i, j)), (value, _BOND_STIFFNESS))
        reach = SIGMAS * math.sqrt(hot / stiffness)
        low, high = max(min(center, value) - reach, _SHORTEST * center), max(center, value) + reach
        yield Coordinate("interval", low, high, f"bond {names[i]} {names[j]}"), center, math.sqrt(kt / stiffness)

    stiffnesses: dict[int, float] = {}
    for row, ((i, j, k, _), value) in enumerate(zip(rows[2:], angles, strict=True), 2):
        center, stiffness = bending.get((frozenset((i, k)), j), (value, _ANGLE_STIFFNESS))
        name = f"angle {names[i]} {names[j]} {names[k]}"
        reach = SIGMAS * math.sqrt(hot / stiffness)
        if zmatrix.is_link(i, j) or zmatrix.is_link(j, k):
            yield Coordinate("interval", _POLE, math.pi - _POLE, name), value, math.inf
        elif row in linear:
            stiffnesses[row] = stiffness
            yield _bend(f"bend {names[i]} {names[j]} {names[k]}", reach), 0.0, math.sqrt(kt / stiffness)
        else:
            low, high = min(center, value) - reach, max(center, value) + reach
            if not rings.isdisjoint([frozenset((i, j)), frozenset((j, k))]):
                center = value
            coordinate = Coordinate("interval", max(low, _ANGLE_MARGIN), min(high, math.pi - _ANGLE_MARGIN), name)
            yield coordinate, center, math.sqrt(kt / stiffness)

    for row, (torsion, value) in enumerate(zip(zmatrix.torsions, torsions, strict=True), 3):
        if row in linear:
            yield _bend(torsion.name, SIGMAS * math.sqrt(hot / stiffnesses[row])), 0.0, math.sqrt(kt / stiffnesses[row])
            continue
        middle, half = (torsion.low + torsion.high) / 2, (torsion.high - torsion.low) / 2
        width = half / _TORSION_SIGMAS * math.sqrt(kt / thermal_energy(300.0))
        center = middle + math.remainder(value - middle, 2 * math.pi)
        yield torsion, center, math.inf if torsion.kind == "circle" else width


def _bend(name: str, reach: float) -> Coordinate:
    return Coordinate("interval", -min(reach, _LARGEST_BEND), min(reach, _LARGEST_BEND), name)
