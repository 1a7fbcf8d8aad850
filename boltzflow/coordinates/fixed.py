"""Internal coordinates that do not vary: constrained distances and frozen atoms."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import torch

from boltzflow.coordinates.zmatrix import ZMatrix, measure
from boltzflow.errors import TopologyError

Pose = tuple[list[list[float]], list[float]]
"""Rotation (3, 3) and translation (3,) in nm."""


def constrained_coordinates(
    zmatrix: ZMatrix, constraints: Iterable[tuple[int, int, float]], frozen: Collection[int] = ()
) -> dict[int, float]:
    """The lengths (nm) and angles (rad) that distance constraints fix, by index among the 3N−6 coordinates.

    A constraint between an atom and its parent fixes a length. A constraint between an atom and its grandparent fixes
    an angle, if both bonds between them are fixed. Constraints between frozen atoms are redundant.

    Args:
        zmatrix: the rows.
        constraints: (i, j, distance in nm).
        frozen: atoms that do not move.

    Raises:
        TopologyError: if a constraint fixes neither a length nor an angle; names the atoms.
    """
    n, rows, names = zmatrix.n_atoms, zmatrix.rows, zmatrix.names
    lengths = {frozenset(row[:2]): i - 1 for i, row in enumerate(rows) if i > 0}
    ends = {frozenset((row[0], row[2])): i for i, row in enumerate(rows) if i > 1}
    fixed: dict[int, float] = {}
    across = []
    for i, j, distance in constraints:
        pair = frozenset((i, j))
        if pair <= set(frozen):
            continue
        if pair in lengths:
            fixed[lengths[pair]] = distance
        else:
            across.append((pair, distance))
    for pair, distance in across:
        row = ends.get(pair, -1)
        sides = [frozenset(rows[row][:2]), frozenset(rows[row][1:3])] if row >= 0 else []
        if row < 0 or row in zmatrix.linear or any(lengths[side] not in fixed for side in sides):
            one, other = (names[a] for a in sorted(pair))
            raise TopologyError(
                f"Expected constraints on bonds of the z-matrix, or on an angle between two constrained bonds; got one "
                f"between {one} and {other}, which closes a ring or joins neighbours of one atom: build the system "
                "with constraints='none' or 'HBonds'."
            )
        b, c = (fixed[lengths[side]] for side in sides)
        cosine = (b * b + c * c - distance * distance) / (2 * b * c)
        if not -1 < cosine < 1:
            one, other = (names[a] for a in sorted(pair))
            raise TopologyError(
                f"Expected constrained distances that form a triangle; those of {one} and {other} do not."
            )
        fixed[n - 1 + row - 2] = math.acos(cosine)
    return fixed


def frozen_coordinates(zmatrix: ZMatrix, positions: Any, frozen: Collection[int]) -> dict[int, float]:
    """The coordinates that place frozen atoms, with their values in the structure, by index."""
    if not frozen:
        return {}
    n, rows = zmatrix.n_atoms, zmatrix.rows
    free = [i for i, torsion in enumerate(zmatrix.torsions, 3) if torsion.kind == "circle"]
    reference = torch.as_tensor(positions).detach().to("cpu", torch.float64)
    measured = measure(rows, reference, zmatrix.linear, free)
    starts = (0, n - 1, 2 * n - 3)
    return {
        start + i - first: values[i - first]
        for first, (start, values) in enumerate(zip(starts, measured, strict=True), 1)
        for i in range(first, n)
        if rows[i][0] in frozen
    }


def pose_of(zmatrix: ZMatrix, positions: Any, frozen: Collection[int]) -> Pose:
    """The rigid transformation to the positions of the first three atoms of the z-matrix, which must be frozen.

    Raises:
        TopologyError: if the first three atoms are not frozen.
    """
    if any(atom not in frozen for atom in zmatrix.order[:3]):
        raise TopologyError(
            f"Expected at least three frozen atoms that are not collinear, or none; got {len(frozen)}, about which the "
            "rest could still rotate."
        )
    origin, first, second = torch.as_tensor(positions).detach().to("cpu", torch.float64)[list(zmatrix.order[:3])]
    x = torch.nn.functional.normalize(first - origin, dim=0)
    y = second - origin
    y = torch.nn.functional.normalize(y - (x @ y) * x, dim=0)
    axes = torch.stack([x, y, torch.linalg.cross(x, y)], 1)
    return axes.tolist(), origin.tolist()
