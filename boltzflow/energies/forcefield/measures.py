"""Distances, angles, dihedrals and coordinates of points, with their gradients.

Points have shape (3, M, batch), values (M, batch), and the gradient with respect to each point (3, M, batch).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from boltzflow.energies.forcefield.term import Box, cross, displacement, dot

Gradients = tuple[Tensor, ...]

_TINY = 1e-30


class Measure(NamedTuple):
    """The kind of measure (a key of `MEASURES`), and the points of a term on which it is measured."""

    kind: str
    points: tuple[int, ...]


def distance(i: Tensor, j: Tensor, *, box: Box | None = None) -> tuple[Tensor, Gradients]:
    """|i − j|, nm."""
    d = displacement(i, j, box)
    r = dot(d, d).sqrt()
    direction = d / r.clamp_min(_TINY)  # coincident points have no force
    return r, (direction, -direction)


def angle(i: Tensor, j: Tensor, k: Tensor, *, box: Box | None = None) -> tuple[Tensor, Gradients]:
    """The angle at j, rad, in [0, π]."""
    a, b = displacement(i, j, box), displacement(k, j, box)
    normal = cross(a, b)
    # The floor avoids a division by zero at a straight angle, where the energy is well defined.
    sine = dot(normal, normal).clamp_min(1e-24).sqrt()
    cosine = dot(a, b)
    by_i = ((cosine / dot(a, a)) * a - b) / sine
    by_k = ((cosine / dot(b, b)) * b - a) / sine
    return torch.atan2(sine, cosine), (by_i, -by_i - by_k, by_k)


def dihedral(i: Tensor, j: Tensor, k: Tensor, m: Tensor, *, box: Box | None = None) -> tuple[Tensor, Gradients]:
    """The dihedral angle about j–k, rad, in (−π, π]."""
    cosine, sine, gradients = dihedral_frame(i, j, k, m, box=box)
    return torch.atan2(sine, cosine), gradients


def dihedral_frame(
    i: Tensor, j: Tensor, k: Tensor, m: Tensor, *, box: Box | None = None
) -> tuple[Tensor, Tensor, Gradients]:
    """Cosine and sine of the dihedral angle, and the gradients of the angle itself.

    After Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996).
    """
    f, g, h = displacement(i, j, box), displacement(j, k, box), displacement(m, k, box)
    a, b = cross(f, g), cross(h, g)
    a_inverse, b_inverse, g_norm = 1 / dot(a, a), 1 / dot(b, b), dot(g, g).sqrt()
    norm_inverse = (a_inverse * b_inverse).sqrt()
    by_i = (-g_norm * a_inverse) * a
    by_m = (g_norm * b_inverse) * b
    along = (dot(f, g) * a_inverse / g_norm) * a - (dot(h, g) * b_inverse / g_norm) * b
    gradients = by_i, along - by_i, -along - by_m, by_m
    return dot(a, b) * norm_inverse, -g_norm * dot(f, b) * norm_inverse, gradients


def _coordinate(axis: int) -> Callable[..., tuple[Tensor, Gradients]]:
    def measure(i: Tensor, *, box: Box | None = None) -> tuple[Tensor, Gradients]:  # noqa: ARG001
        zero = torch.zeros_like(i[0])
        return i[axis], (torch.stack([zero + (1.0 if k == axis else 0.0) for k in range(3)]),)

    return measure


MEASURES: dict[str, Callable[..., tuple[Tensor, Gradients]]] = {
    "distance": distance,
    "angle": angle,
    "dihedral": dihedral,
    "x": _coordinate(0),
    "y": _coordinate(1),
    "z": _coordinate(2),
}
