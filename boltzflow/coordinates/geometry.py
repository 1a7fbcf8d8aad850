"""Distances, angles and dihedrals of batches of points; differentiable, in the input's dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cross(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """The cross product a × b of vectors along `dim`.

    It is computed in components, which compiles to one fused loop for any axis of x, y, z.
    """
    return torch.stack(cross_of_components(a.unbind(dim), b.unbind(dim)), dim)


def norm(a: Tensor, dim: int = -1) -> Tensor:
    """The length of vectors along `dim`; the gradient of a zero vector is 0.

    `torch.linalg.vector_norm` is ten times slower over the first axis. The smallest normal number is added: it does
    not change a nonzero length, and it keeps the gradient of the square root finite at zero.
    """
    return _norm(a.unbind(dim))


def distance(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """The distance |b − a|, in the unit of the points.

    a, b: points with x, y, z along `dim`, e.g. (batch, 3) → (batch,). The gradient at distance 0 is 0.

    >>> distance(torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.3, 0.4, 0.0]))
    tensor(0.5000)
    """
    return norm(b - a, dim)


def angle(a: Tensor, b: Tensor, c: Tensor, dim: int = -1) -> Tensor:
    """The angle a–b–c in rad, in [0, π].

    a, b, c: points with x, y, z along `dim`, e.g. (batch, 3) → (batch,). It is computed with atan2, which is accurate
    to rounding near 0 and π, where acos loses half of the digits.

    >>> x, o, y = torch.eye(3)[0], torch.zeros(3), torch.eye(3)[1]
    >>> angle(x, o, y)
    tensor(1.5708)
    """
    return between(a - b, c - b, dim)


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor, dim: int = -1) -> Tensor:
    """The dihedral a–b–c–d in rad, in [−π, π]: 0 is cis; positive is clockwise, viewed from b to c (IUPAC).

    a, b, c, d: points with x, y, z along `dim`, e.g. (batch, 3) → (batch,). The sign is that of mdtraj and
    OpenMM. Undefined, with a non-finite gradient, if three consecutive points are collinear.

    >>> points = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> dihedral(*points)
    tensor(1.5708)
    """
    return turn(a - b, c - b, d - c, dim)


def turn(start: Tensor, axis: Tensor, end: Tensor, dim: int = -1) -> Tensor:
    """The angle in rad, in [−π, π], of the rotation about `axis` from `start` to the half-plane of `end`.

    start, axis, end: vectors with x, y, z along `dim`. Components of start and end along the axis do not
    matter, so `dihedral` is the rotation from b→a to c→d about b→c.
    """
    # If `start` is almost parallel to the axis, only its cross product with the axis is used, so that rounding errors
    # in its direction are consistent. In components, because a compiler would recompute stacked products for each one.
    s, a, e = (vector.unbind(dim) for vector in (start, axis, end))
    across, normal = cross_of_components(a, s), cross_of_components(a, e)
    sine = _dot(a, cross_of_components(across, normal))
    return torch.atan2(sine, _norm(a) * _dot(across, normal))


def between(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """The angle between two vectors in rad, in [0, π]; a, b: vectors with x, y, z along `dim`."""
    p, q = a.unbind(dim), b.unbind(dim)
    normal = cross_of_components(p, q)
    return torch.atan2(_norm(normal), _dot(p, q))


def cross_of_components(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    """The cross product of vectors given by their components."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _norm(a: Sequence[Tensor]) -> Tensor:
    """The length of vectors given by their components."""
    return (_dot(a, a) + torch.finfo(a[0].dtype).tiny).sqrt()


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The scalar product of vectors given by their components."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
