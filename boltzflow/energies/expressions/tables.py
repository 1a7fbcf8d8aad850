"""Tabulated functions: natural or periodic cubic splines on grids, and plain look-up tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

from boltzflow.arrays import Array
from boltzflow.energies.expressions.expression import Expression, Function, Value, broadcast, call, constant


class Table(nn.Module, ABC):
    """A function of one to three variables whose values are stored."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """The number of variables."""

    @abstractmethod
    def derivative(self, axis: int) -> Table | None:
        """The derivative with respect to one variable; None if it is zero everywhere."""

    def function(self, name: str) -> Function:
        """This table as a function of expressions."""

        def slope(arguments: Sequence[Expression], slopes: Sequence[Expression]) -> Expression:
            total = constant(0.0)
            for axis, by_argument in enumerate(slopes):
                table = self.derivative(axis) if by_argument.number != 0.0 else None
                if table is not None:
                    total = total + call(table.function(f"{name}′{axis}"), *arguments) * by_argument
            return total

        return Function(name, self.dimensions, self, slope)


class SplineTable(Table):
    """The tensor product of cubic splines through values on a regular grid; zero outside unless periodic.

    Non-periodic splines are natural (no curvature at the ends), as OpenMM's Continuous1D/2D/3DFunction.

    Args:
        values: one axis per variable. Periodic tables repeat the first value at the end.
        lows, highs: first and last grid point of each variable.
        periodic: whether all variables are periodic.
    """

    coefficients: Tensor

    def __init__(self, values: Array, lows: Sequence[float], highs: Sequence[float], periodic: bool) -> None:
        super().__init__()
        self.lows, self.highs, self.periodic = tuple(lows), tuple(highs), periodic
        self.cells = tuple(size - 1 for size in values.shape)
        self.register_buffer("coefficients", spline_coefficients(values, periodic))

    @property
    def dimensions(self) -> int:
        return len(self.cells)

    def derivative(self, axis: int) -> SplineTable:
        slope = SplineTable.__new__(SplineTable)
        nn.Module.__init__(slope)
        slope.lows, slope.highs, slope.periodic, slope.cells = self.lows, self.highs, self.periodic, self.cells
        step = (self.highs[axis] - self.lows[axis]) / self.cells[axis]
        powers = self.coefficients.movedim(axis, 0)
        factors = torch.arange(1, 4, dtype=powers.dtype).view(-1, *[1] * (powers.dim() - 1)) / step
        lowered = torch.cat([factors * powers[1:], torch.zeros_like(powers[:1])])
        slope.register_buffer("coefficients", lowered.movedim(0, axis))
        return slope

    def forward(self, *arguments: Value) -> Tensor:
        points = broadcast(*arguments)
        cell, inside, fractions = torch.zeros_like(points[0], dtype=torch.long), None, []
        for x, low, high, cells in zip(points, self.lows, self.highs, self.cells, strict=True):
            place = (x - low) * (cells / (high - low))
            if self.periodic:
                place = place - cells * torch.floor(place / cells)
            else:
                within = ~((x < low) | (x > high))  # true for NaN, so that the result is NaN
                inside = within if inside is None else inside & within
            index = torch.floor(place).clamp(0, cells - 1).nan_to_num()
            fractions.append(place - index)
            cell = cell * cells + index.long()
        value = self._polynomial(self.coefficients, cell, fractions)
        return value if inside is None else torch.where(inside, value, torch.zeros_like(value))

    def _polynomial(self, coefficients: Tensor, cell: Tensor, fractions: Sequence[Tensor]) -> Tensor:
        """Horner's scheme, variable by variable. coefficients: (4, …, 4, cells)."""
        if not fractions:
            return coefficients[cell]
        first, *rest = fractions
        value = self._polynomial(coefficients[3], cell, rest)
        for power in (2, 1, 0):
            value = value * first + self._polynomial(coefficients[power], cell, rest)
        return value


def spline_coefficients(values: Array, periodic: bool) -> Tensor:
    """Polynomial coefficients (4, …, 4, cells) of the splines through values on a grid with unit spacing.

    Powers ascend; in the cells the last variable runs fastest.
    """
    dimensions = values.ndim
    table = np.asarray(values, dtype=np.float64)
    for _ in range(dimensions):
        # The first axis becomes (powers, cells), which move to the end; after the last pass the order is right.
        spline = CubicSpline(np.arange(len(table)), table, bc_type="periodic" if periodic else "natural")
        table = np.moveaxis(spline.c[::-1], (0, 1), (-2, -1))
    powers, cells = range(0, 2 * dimensions, 2), range(1, 2 * dimensions, 2)
    ordered = table.transpose(*powers, *cells)
    return torch.from_numpy(np.ascontiguousarray(ordered.reshape(*[4] * dimensions, -1)))


class DiscreteTable(Table):
    """Stored values at integer arguments; NaN outside the table, so that the frame counts as failed.

    Args:
        values: one axis per variable.
    """

    values: Tensor

    def __init__(self, values: Array) -> None:
        super().__init__()
        self.shape = values.shape
        self.register_buffer("values", torch.from_numpy(np.array(values, dtype=np.float64).reshape(-1)))

    @property
    def dimensions(self) -> int:
        return len(self.shape)

    def derivative(self, axis: int) -> None:
        return None

    def forward(self, *arguments: Value) -> Tensor:
        points = broadcast(*arguments)
        cell, inside = torch.zeros_like(points[0], dtype=torch.long), torch.ones_like(points[0], dtype=torch.bool)
        for x, size in zip(points, self.shape, strict=True):
            index = torch.floor(x + 0.5)
            inside = inside & (index >= 0) & (index < size)
            cell = cell * size + index.clamp(0, size - 1).nan_to_num().long()
        return torch.where(inside, self.values[cell], torch.nan)
