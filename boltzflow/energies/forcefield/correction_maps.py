"""Correction maps: periodic functions of two dihedrals, as in CHARMM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import openmm
import torch
from torch import Tensor

from boltzflow.core.functional import stored
from boltzflow.energies.expressions import spline_coefficients
from boltzflow.energies.forcefield.measures import dihedral
from boltzflow.energies.forcefield.term import Box, Gather, Term, column
from boltzflow.energies.forcefield.translation import Translation


class CorrectionMaps(Term):
    """Bicubic splines of pairs of dihedrals.

    Args:
        atoms: M groups of eight atoms, four for each dihedral.
        maps: energies on regular periodic grids over [0, 2π)², kJ/mol.
        numbers: the index of each group's map.
        n_atoms: the number of particles.
        box: the periodic box, or None.
    """

    coefficients: Tensor
    first_cell: Tensor
    cells: Tensor
    box: Box | None

    def __init__(
        self,
        atoms: Sequence[Sequence[int]],
        maps: Sequence[np.ndarray],
        numbers: Sequence[int],
        n_atoms: int,
        box: Box | None,
    ) -> None:
        super().__init__()
        self.gather = Gather(atoms, n_atoms)
        # The first grid line is repeated after the last one, to close the period.
        splines = [spline_coefficients(np.pad(grid, (0, 1), mode="wrap"), periodic=True) for grid in maps]
        starts = np.cumsum([0, *(spline.shape[-1] for spline in splines)])
        self.register_buffer("coefficients", torch.cat(splines, -1))
        self.register_buffer("first_cell", torch.tensor([int(starts[k]) for k in numbers])[:, None])
        self.register_buffer("cells", column([float(len(maps[k])) for k in numbers]))
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = self.gather(x)
        (phi, by_first), (psi, by_second) = (dihedral(*points[k : k + 4], box=self.box) for k in (0, 4))
        scale = self.cells / (2 * math.pi)
        (row, s), (line, t) = (self._place(angle * scale) for angle in (phi, psi))
        cell = self.first_cell + (row * self.cells + line).long()
        c = stored(self.coefficients[:, :, cell])
        value = slope_s = slope_t = torch.zeros_like(phi)
        for power in (3, 2, 1, 0):  # Horner's scheme in both variables, with derivatives
            inner = c[power, 0] + t * (c[power, 1] + t * (c[power, 2] + t * c[power, 3]))
            inner_slope = c[power, 1] + t * (2 * c[power, 2] + t * 3 * c[power, 3])
            slope_s, value, slope_t = slope_s * s + value, value * s + inner, slope_t * s + inner_slope
        forces = [-slope * scale * g for slope, gs in ((slope_s, by_first), (slope_t, by_second)) for g in gs]
        return value.sum(0), self.gather.collect(*forces)

    def _place(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the grid cell, and the position within the cell: (M, batch) each."""
        place = place - self.cells * torch.floor(place / self.cells)
        # Rounding can reach the end of the period; non-finite values must not be used as an index.
        index = torch.minimum(torch.floor(place), self.cells - 1).nan_to_num()
        return index, place - index


def correction_maps(force: openmm.CMAPTorsionForce, system: Translation) -> list[Term]:
    """Translates a CMAPTorsionForce."""
    torsions = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    if not torsions:
        return []
    maps = []
    for number in range(force.getNumMaps()):
        size, energies = force.getMapParameters(number)
        # In OpenMM's maps the first angle runs fastest.
        maps.append(np.array([e._value for e in energies]).reshape(size, size).T)
    numbers = [number for number, *_ in torsions]
    atoms = [atoms for _, *atoms in torsions]
    return [CorrectionMaps(atoms, maps, numbers, system.n_atoms, system.box_of(force))]
