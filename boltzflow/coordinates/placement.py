"""Atoms placed along a tree by lengths, angles and rotations, level by level, with the analytic gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from boltzflow.coordinates.geometry import cross


class Placement(nn.Module):
    """Place atoms 0 … N−1, each bonded to an earlier one, all atoms of one level at once.

    Atom 0 is the root, at the origin; atom 1 lies on the +x axis. Each atom brings a frame for its
    children: u, the direction in which it was placed, and v, the unit vector across u towards its parent's
    parent. A child in the direction

        sin θ (cos ρ v + sin ρ u × v) − cos θ u

    has its own frame by products alone: there are no quotients that could overflow, at whatever angles. (To
    the root's children, the root looks as if it were placed from atom 1, with v = +y.)

    The backward pass is that of rigid bodies: the force on an atom's subtree along its bond, and the
    torque on it about the axes of its angle and its rotation. It needs one product with a constant matrix,
    and can be differentiated again.

    Args:
        parents: the parent of each atom, −1 for the root; atoms in the order of their levels.
    """

    def __init__(self, parents: Sequence[int]) -> None:
        super().__init__()
        n = len(parents)
        levels = [0]
        for parent in parents[1:]:
            levels.append(levels[parent] + 1)
        subtree = torch.eye(n, dtype=torch.float64)
        for atom in range(n - 1, 0, -1):
            subtree[parents[atom]] += subtree[atom]
        # Where the parent stands among the atoms of its own level.
        places = [parent - levels.index(levels[parent]) for parent in parents[2:]]
        self._sizes = tuple(levels[2:].count(level) for level in range(1, max(levels) + 1))
        self.register_buffer("_places", torch.tensor(places), persistent=False)
        self.register_buffer("_parents", torch.tensor(parents[1:]), persistent=False)
        self.register_buffer("_subtree", subtree, persistent=False)

    def forward(self, lengths: Tensor, angles: Tensor, rotations: Tensor) -> Tensor:
        """Positions (3, N, batch).

        lengths: (N−1, batch) of atoms 1 …; angles: (N−2, batch) of atoms 2 …, in rad; rotations ρ about the
        parent's bond: (N−2, batch), in rad.
        """
        points: Tensor = _Place.apply(  # type: ignore[no-untyped-call]
            lengths, angles, rotations, self._places, self._parents, self._subtree, self._sizes
        )
        return points


class _Place(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        lengths: Tensor,
        angles: Tensor,
        rotations: Tensor,
        places: Tensor,
        parents: Tensor,  # this and the next are for the backward pass
        subtree: Tensor,
        sizes: tuple[int, ...],
    ) -> Tensor:
        zero = torch.zeros_like(lengths[:1])
        one = torch.ones_like(zero)
        root = torch.stack([zero, zero, zero, -one, zero, zero, zero, one, zero])
        first = torch.stack([lengths[:1], zero, zero, one, zero, zero, zero, one, zero])
        sine, cosine = angles.sin(), angles.cos()
        turn_sine, turn_cosine = rotations.sin(), rotations.cos()
        placed, frames, start = [root[:3], first[:3]], root, 0
        for level, size in enumerate(sizes):
            part = slice(start, start + size)
            x, u, v = torch.split(frames.index_select(1, places[part]), 3)
            across = turn_cosine[part] * v + turn_sine[part] * cross(u, v, dim=0)
            outward = sine[part] * across - cosine[part] * u
            x = x + lengths[1:][part] * outward
            # One Newton step to length 1: in float32 a chain of 30 levels would else be off by 1e-4 nm at its ends.
            u, v = (a * (1.5 - 0.5 * (a * a).sum(0)) for a in (outward, -sine[part] * u - cosine[part] * across))
            frames = torch.cat([x, u, v])
            if level == 0:
                frames = torch.cat([first, frames], 1)
            placed.append(x)
            start = part.stop
        return torch.cat(placed, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        lengths, angles, _, _, parents, subtree, _ = inputs
        ctx.save_for_backward(output, lengths, angles, parents, subtree)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        points, lengths, angles, parents, subtree = ctx.saved_tensors
        below = torch.matmul(subtree.to(grad), torch.cat([grad, cross(points, grad, dim=0)]))
        force, torque = torch.split(below, 3)
        origins = points.index_select(1, parents)
        outward = (points[:, 1:] - origins) / lengths
        # The axis of an atom's rotation is the bond to its parent; for the root's children, that from atom 1.
        axes = torch.cat([-outward[:, :1], outward], 1).index_select(1, parents[1:])
        torque = torque[:, 2:] - cross(origins[:, 1:], force[:, 2:], dim=0)
        normals = cross(outward[:, 1:], axes, dim=0)
        to_lengths = (outward * force[:, 1:]).sum(0)
        to_angles = (normals * torque).sum(0) / angles.sin()
        return to_lengths, to_angles, (axes * torque).sum(0), None, None, None, None
