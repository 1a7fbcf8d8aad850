"""Energies that are arbitrary functions of distances, angles, dihedrals and coordinates of a few points each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from boltzflow.energies.expressions import Expression, Program
from boltzflow.energies.forcefield.measures import MEASURES, Measure
from boltzflow.energies.forcefield.term import Box, Named, Term, column


class Points(Protocol):
    """The points of M groups as a function of the positions of atoms."""

    width: int

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (3, N, batch) → `width` tensors (3, M, batch)."""

    def collect(self, *parts: Tensor) -> Tensor:
        """Forces on points, `width` tensors (3, M, batch) → forces on atoms (3, N, batch)."""


class ExpressionTerm(Term):
    """An expression of quantities measured on groups of points, summed over M groups.

    Args:
        points: returns the points of the groups, for example a `Gather` of atoms.
        measures: the quantities measured on the points of a group, by their names in the expression.
        energy: the energy of one group, kJ/mol.
        parameters: M numbers for each name; the translators reject names that are neither parameters nor measures.
        box: the periodic box, or None.
    """

    box: Box | None

    def __init__(
        self,
        points: Points,
        measures: Mapping[str, Measure],
        energy: Expression,
        parameters: Mapping[str, Sequence[float]],
        box: Box | None = None,
    ) -> None:
        super().__init__()
        used = energy.variables
        self.points = points
        self.measures = {name: measure for name, measure in measures.items() if name in used}
        self.constants = Named({name: column(values) for name, values in parameters.items() if name in used})
        self.program = Program([energy, *(energy.derivative(name) for name in self.measures)])
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = self.points(x)
        values: dict[str, Tensor | float] = dict(self.constants.as_dict())
        gradients = {}
        for name, (kind, where) in self.measures.items():
            values[name], gradients[name] = MEASURES[kind](*(points[i] for i in where), box=self.box)
        energy, *slopes = self.program(values)
        forces = [torch.zeros_like(point) for point in points]
        for (name, (_, where)), slope in zip(self.measures.items(), slopes, strict=True):
            for i, gradient in zip(where, gradients[name], strict=True):
                forces[i] = forces[i] - slope * gradient
        return (energy + torch.zeros_like(points[0][0])).sum(0), self.points.collect(*forces)
