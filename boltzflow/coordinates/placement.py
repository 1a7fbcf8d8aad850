"""Places atoms along a tree by lengths, angles and rotations, level by level, with the analytic gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from boltzflow.coordinates.geometry import cross, cross_of_components
from boltzflow.coordinates.tree import Row, frame_of, levels


class Placement(nn.Module):
    """Place atoms 0 … N−1, each from earlier ones; all atoms of one level are placed together.

    Atom 0 is the root, at the origin; atom 1 lies on the +x axis. Each atom has a frame for the atoms placed
    from it: u, the direction in which it was placed, and v, the unit vector normal to u towards its parent's
    parent (+y for atom 1). A child in the direction

        sin θ (cos ρ v + sin ρ u × v) − cos θ u

    gets its own frame from products only, without quotients that could overflow at some angles. An atom whose
    grandparent is a child of its parent is placed from the grandparent's frame, reversed: at the parent, with −u
    and v.

    The backward pass is that of rigid bodies. It computes the force along the atom's bond on all atoms placed from
    it, and the torque about the axes of its angle and its rotation on all atoms placed from its frame. It needs two
    products with constant matrices, and is differentiable.

    Args:
        rows: (atom, parent, grandparent, reference) of a z-matrix, with atoms numbered in the order of placement.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        n = len(rows)
        level = list(levels(rows).values())
        row_of = dict(enumerate(rows))
        parents = [row[1] for row in rows]
        frames = [frame_of(row_of, row) for row in rows[2:]]
        flipped = [frame != row[1] for frame, row in zip(frames, rows[2:], strict=True)]
        hanging, turning = torch.eye(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
        for atom in range(n - 1, 1, -1):
            hanging[parents[atom]] += hanging[atom]
            turning[frames[atom - 2]] += turning[atom]
        # The frames of a level, followed by the reversed copies of some of them.
        self._sizes = tuple(level[2:].count(k) for k in range(1, max(level) + 1))
        places, ends = [], []
        for k in range(1, max(level) + 1):
            before = [atom for atom in range(1, n) if level[atom] == k - 1]
            seen_twice = sorted(
                {f for f, flip, own in zip(frames, flipped, level[2:], strict=True) if flip and own == k}
            )
            table = {(f, False): i for i, f in enumerate(before)}
            table |= {(f, True): len(before) + i for i, f in enumerate(seen_twice)}
            ends.append([before.index(f) for f in seen_twice])
            places += [
                table[key] for key, own in zip(zip(frames, flipped, strict=True), level[2:], strict=True) if own == k
            ]
        self._ends = tuple(tuple(e) for e in ends)
        signs = torch.tensor([-1.0 if flip else 1.0 for flip in flipped], dtype=torch.float64)
        self.register_buffer("_places", torch.tensor(places), persistent=False)
        self.register_buffer("_parents", torch.tensor(parents[1:]), persistent=False)
        self.register_buffer("_frames", torch.tensor([f - 1 for f in frames]), persistent=False)
        self.register_buffer("_signs", signs[:, None], persistent=False)
        self.register_buffer("_hanging", hanging[1:], persistent=False)
        self.register_buffer("_turning", turning[2:], persistent=False)

    def forward(self, lengths: Tensor, angles: Tensor, rotations: Tensor) -> Tensor:
        """Positions (3, N, batch).

        lengths: (N−1, batch) of atoms 1 …; angles: (N−2, batch) of atoms 2 …, in rad; rotations ρ about the
        bond parent–grandparent: (N−2, batch), in rad.
        """
        constants = (self._places, self._parents, self._frames, self._signs, self._hanging, self._turning)
        points: Tensor = _Place.apply(  # type: ignore[no-untyped-call]
            lengths, angles, rotations, *constants, self._sizes, self._ends
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
        parents: Tensor,  # this and the next four are for the backward pass
        frames_of: Tensor,
        signs: Tensor,
        hanging: Tensor,
        turning: Tensor,
        sizes: tuple[int, ...],
        ends: tuple[tuple[int, ...], ...],
    ) -> Tensor:
        zero = torch.zeros_like(lengths[:1])
        one = torch.ones_like(zero)
        # Joined, so that compiled code stores them; otherwise each would be recomputed for x, y and z.
        functions = torch.cat([angles.sin(), angles.cos(), rotations.sin(), rotations.cos()])
        sines, cosines, turn_sines, turn_cosines = functions.chunk(4)
        origins, x = [zero, zero, zero], [lengths[:1], zero, zero]
        u, v = [one, zero, zero], [zero, one, zero]
        placed, start = [origins, x], 0
        # In components, so that a compiler fuses a level into one loop and stores no stacked arrays.
        for size, seen_twice in zip(sizes, ends, strict=True):
            part = slice(start, start + size)
            index = places[part]
            frames = [*x, *u, *v]
            if seen_twice:
                other = [*origins, *(-t for t in u), *v]
                there = [slice(i, i + 1) for i in seen_twice]
                frames = [torch.cat([t, *(o[i] for i in there)]) for t, o in zip(frames, other, strict=True)]
            picked = [t.index_select(0, index) for t in frames]
            origins, u, v = picked[:3], picked[3:6], picked[6:]
            sine, cosine, length = sines[part], cosines[part], lengths[1:][part]
            normal = cross_of_components(u, v)
            across = [turn_cosines[part] * a + turn_sines[part] * b for a, b in zip(v, normal, strict=True)]
            outward = [sine * a - cosine * b for a, b in zip(across, u, strict=True)]
            x = [o + length * a for o, a in zip(origins, outward, strict=True)]
            # One Newton step to length 1; without it a chain of 30 levels in float32 is off by 1e-4 nm at its ends.
            u, v = _unit(outward), _unit([-sine * b - cosine * a for a, b in zip(across, u, strict=True)])
            placed.append(x)
            start = part.stop
        return torch.stack([torch.cat(component) for component in zip(*placed, strict=True)])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        lengths, angles, _, _, *constants = inputs[:9]
        ctx.save_for_backward(output, lengths, angles, *constants)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        points, lengths, angles, parents, frames, signs, hanging, turning = ctx.saved_tensors
        force = torch.matmul(hanging.to(grad), grad)
        on_frames = torch.matmul(turning.to(grad), torch.cat([grad, cross(points, grad, dim=0)]))
        push, torque = torch.split(on_frames, 3)
        origins = points.index_select(1, parents)
        outward = (points[:, 1:] - origins) / lengths
        # The axis of an atom's rotation is that of its frame, viewed from its parent.
        axes = signs.to(grad) * outward.index_select(1, frames)
        torque = torque - cross(origins[:, 1:], push, dim=0)
        normals = cross(outward[:, 1:], axes, dim=0)
        to_lengths = (outward * force).sum(0)
        to_angles = (normals * torque).sum(0) / angles.sin()
        return to_lengths, to_angles, (axes * torque).sum(0), *[None] * 8


def _unit(vector: list[Tensor]) -> list[Tensor]:
    """Components of almost unit vectors, one Newton step closer to length 1."""
    a, b, c = vector
    scale = 1.5 - 0.5 * (a * a + b * b + c * c)
    return [scale * component for component in vector]
