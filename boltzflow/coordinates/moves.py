"""Positions of a few atoms as a function of one coordinate, which moves a molecule as rigid parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from boltzflow.coordinates.geometry import cross
from boltzflow.coordinates.internal import InternalCoordinates
from boltzflow.coordinates.tree import frame_of
from boltzflow.coordinates.zmatrix import unbend

Part = tuple[int, bool]
"""A rigid part: the row that moves it (−1 if it does not move), and whether it rotates about the row's parent."""


class _Motion(NamedTuple):
    """Rotations (K, 3, 3) and translations (K, 3): x → R x + t."""

    rotation: Tensor
    translation: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Points (m, 3) → (K, m, 3)."""
        return x @ self.rotation.transpose(1, 2) + self.translation[:, None]

    def after(self, rotation: Tensor, centre: Tensor) -> _Motion:
        """This motion after a rotation about a point."""
        shift = centre - rotation @ centre
        turned = self.rotation @ rotation
        return _Motion(turned, (self.rotation @ shift[:, :, None])[:, :, 0] + self.translation)


class Moves:
    """The rigid parts of a molecule in internal coordinates.

    A coordinate moves the atoms that it places, and all atoms placed from them, as one rigid part. All other atoms do
    not move. It therefore changes only few terms of an energy, even in a large molecule.
    """

    def __init__(self, coordinates: InternalCoordinates) -> None:
        zmatrix = coordinates.zmatrix
        self._coordinates, self._rows, self._place = coordinates, zmatrix.rows, zmatrix.place
        row_of = {row[0]: row for row in zmatrix.rows}
        self._frame = [-1, 0] + [zmatrix.place[frame_of(row_of, row)] for row in zmatrix.rows[2:]]
        flipped = [self._rows[frame][0] != row[1] for frame, row in zip(self._frame[2:], self._rows[2:], strict=True)]
        self._flipped = [False, False, *flipped]
        self._turned: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for row, torsion in coordinates.to_rotations.nonzero().tolist():
            self._turned[torsion + 3].append((row + 3, float(coordinates.to_rotations[row, torsion])))

    def row(self, number: int) -> int:
        """The row of one of the D coordinates."""
        i, n = self._coordinates.varying[number], len(self._rows)
        return i + 1 if i < n - 1 else i - n + 3 if i < 2 * n - 3 else i - 2 * n + 6

    def separators(self, atoms: Sequence[int]) -> set[int]:
        """The rows that can move some atoms relative to each other."""
        chains = []
        for atom in atoms:
            row = self._place[atom]
            chain = [row]
            while row > 0:
                row = self._frame[row]
                chain.append(row)
            chains.append(chain[::-1])
        shared = 0
        while all(len(chain) > shared for chain in chains) and len({chain[shared] for chain in chains}) == 1:
            shared += 1
        return {row for chain in chains for row in chain[max(shared - 1, 0) :]}

    def moving(self, number: int) -> list[int]:
        """The rows whose atoms one of the D coordinates moves relative to the atoms that place them, ascending."""
        row, i, n = self.row(number), self._coordinates.varying[number], len(self._rows)
        is_length, is_bend = i < n - 1, row in self._coordinates.zmatrix.linear
        if is_length or (i < 2 * n - 3 and not is_bend):
            return [row]
        return sorted({row, *(other for other, _ in self._turned[row])})

    def parts(self, moving: Iterable[int], atoms: Iterable[int]) -> dict[int, Part]:
        """The rigid part of each atom when some rows move."""
        moved = set(moving)
        found = {}
        for atom in atoms:
            row, flip = self._place[atom], False
            while row > 0 and row not in moved:
                row, flip = self._frame[row], self._flipped[row]
            found[atom] = (row if row in moved else -1, flip and row in moved)
        return found

    def along(self, number: int, z: Tensor, x: Tensor, values: Tensor, atoms: Sequence[int]) -> Tensor:
        """Positions (K, m, 3) of some atoms when one of the D coordinates has the values (K,), in nm or rad.

        z, x: coordinates (D,) and positions (N, 3) of the structure.
        """
        moving = self.moving(number)
        parts = self.parts(moving, atoms)
        changes = self._changes(number, z, values)
        motions: dict[Part, _Motion] = {(-1, False): _still(values)}
        for row in moving:
            motions |= self._motions(row, moving, motions, x, changes[row])
        frames = torch.empty(len(values), len(atoms), 3, dtype=x.dtype)
        for part in set(parts.values()):
            places = [place for place, atom in enumerate(atoms) if parts[atom] == part]
            frames[:, places] = motions[part].of(x[[atoms[place] for place in places]])
        return frames

    def _changes(self, number: int, z: Tensor, values: Tensor) -> Mapping[int, tuple[Tensor, Tensor, Tensor]]:
        """The changes of length, angle and rotation of each row."""
        coordinates, row = self._coordinates, self.row(number)
        i, n = coordinates.varying[number], len(self._rows)
        nothing = torch.zeros_like(values)
        change = values - z[number]
        if i < n - 1:
            return {row: (change, nothing, nothing)}
        opening, turning = change, nothing
        if row in coordinates.zmatrix.linear:
            other = coordinates.varying.index(i + n - 3 if i < 2 * n - 3 else i - n + 3)
            pair = (values, z[other]) if i < 2 * n - 3 else (z[other], values)
            new = unbend(*pair)
            old = unbend(*((z[number], z[other]) if i < 2 * n - 3 else (z[other], z[number])))
            opening, turning = new[0] - old[0], new[1] - old[1]
        elif i >= 2 * n - 3:
            opening, turning = nothing, change
        found = {other: (nothing, nothing, factor * turning) for other, factor in self._turned[row]}
        found[row] = (nothing, opening, found[row][2] if row in found else nothing)
        return found

    def _motions(
        self,
        row: int,
        moving: Sequence[int],
        motions: Mapping[Part, _Motion],
        x: Tensor,
        changes: tuple[Tensor, Tensor, Tensor],
    ) -> dict[Part, _Motion]:
        """The motions of atoms placed from a row's atom, and of atoms that rotate with it about its parent."""
        atom, parent, grandparent, _ = self._rows[row]
        longer, opening, turning = changes
        outward = torch.nn.functional.normalize(x[atom] - x[parent], dim=0)
        base = _still(longer)
        if row > 1:
            frame = self._rows[self._frame[row]][0]
            above, flip = self._frame[row], self._flipped[row]
            part = (above, flip) if above in moving else self.parts(moving, [frame])[frame]
            axis = torch.nn.functional.normalize(x[parent] - x[grandparent], dim=0)
            normal = torch.nn.functional.normalize(cross(outward, axis), dim=0)
            base = motions[part].after(_rotations(axis, turning) @ _rotations(normal, opening), x[parent])
        shift = (base.rotation @ outward) * longer[:, None]
        return {(row, True): base, (row, False): _Motion(base.rotation, base.translation + shift)}


def _still(values: Tensor) -> _Motion:
    eye = torch.eye(3, dtype=values.dtype).expand(len(values), 3, 3)
    return _Motion(eye, torch.zeros(len(values), 3, dtype=values.dtype))


def _rotations(axis: Tensor, turns: Tensor) -> Tensor:
    """Matrices (K, 3, 3) of rotations by angles (K,) in rad about a unit vector (Rodrigues' formula)."""
    a, b, c = axis.tolist()
    skew = torch.tensor([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]], dtype=turns.dtype)
    sine, cosine = turns.sin()[:, None, None], turns.cos()[:, None, None]
    return torch.eye(3, dtype=turns.dtype) + sine * skew + (1 - cosine) * (skew @ skew)
