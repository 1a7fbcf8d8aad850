"""Confidence intervals of estimates from the contributions of samples, or groups of samples, to the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.core.pareto import relevant_shape, tail_size
from boltzflow.errors import OptionError, ShapeError

_STEEPEST = 0.97  # largest skewness of a sum; it cannot exceed 1, where the interval becomes infinite
_UNSEEN = 0.5  # largest relative increase of the skewness, for the part of a heavy tail beyond all samples


@dataclass(frozen=True, eq=False)
class Contributions:
    """The error distribution of an estimate, from independent contributions to its error.

    Estimates may have any shape (…); each element has its own distribution.

    Attributes:
        error: standard error of the sum.
        skewness: skewness of the sum, between −1 and 1: Σc³ / (Σc²)^(3/2).
        carriers: effective number of contributions to the error, (Σc²)² / Σc⁴: a third of all if they are normal, few
            if some are far larger than the others.
        number: number of independent contributions.
        shape: Pareto k̂ of the tail of |c|, over single samples; −inf if there is no tail.
        tail: number of samples from which k̂ was estimated.
    """

    error: Tensor
    skewness: Tensor
    carriers: Tensor
    number: int
    shape: Tensor
    tail: int

    @classmethod
    def of(cls, changes: Tensor, of_samples: Tensor | None = None, shape: float | None = None) -> Contributions:
        """The error distribution of an estimate from the contributions.

        Args:
            changes: (G, …), the contribution of each independent group to the estimate's deviation; their squares add
                up to its variance. Not finite if one group has all the weight.
            of_samples: (n, …), the contributions of single samples, if groups have several samples.
            shape: k̂, if it is known.

        Raises:
            ShapeError: if there are no contributions.

        >>> found = Contributions.of(torch.tensor([0.1, -0.1, 0.1, -0.1]))
        >>> round(float(found.error), 3), float(found.carriers), float(found.skewness)
        (0.2, 4.0, 0.0)
        """
        if changes.dim() == 0 or len(changes) == 0:
            raise ShapeError(f"Expected contributions (G, …), G ≥ 1; got shape {tuple(changes.shape)}.")
        samples = (changes if of_samples is None else of_samples).double()
        known = changes.isfinite().all(0)
        scale = changes.double().abs().amax(0)  # squares of tiny numbers would underflow
        changes = changes.double() / scale.where(known & (scale > 0), 1.0)
        squares = changes.square()
        variance = squares.sum(0)
        return cls(
            error=torch.where(known, variance.sqrt() * scale, math.inf),
            skewness=((squares * changes).sum(0) / variance**1.5).nan_to_num(nan=0.0),
            carriers=(variance.square() / squares.square().sum(0)).nan_to_num(nan=float(len(changes))),
            number=len(changes),
            shape=_shapes(samples.abs().nan_to_num(nan=math.inf))
            if shape is None
            else torch.full_like(variance, shape),
            tail=tail_size(len(samples)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Contributions], shape: torch.Size, tail: int) -> Contributions:
        """The distributions of `shape` (…), joined from those of consecutive elements, (k,) each."""
        joined = {
            name: torch.cat([getattr(part, name) for part in parts]).reshape(shape)
            for name in ("error", "skewness", "carriers", "shape")
        }
        return cls(**joined, number=parts[0].number, tail=tail)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The ends (…) of a confidence interval, as distances from the estimate: low ≤ 0 ≤ high.

        Student's t with Satterthwaite's degrees of freedom (1946, DOI 10.2307/3002019), with Hall's transformation for
        skew sums (1992, DOI 10.1111/j.2517-6161.1992.tb01883.x). A sample rarely covers all of a heavy tail. For the
        end on the side of the tail, the skewness is therefore increased by the fraction k̂, up to one half.

        Raises:
            OptionError: if the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise OptionError(f"Expected a level between 0 and 1; got {level:g}.")
        freedom = 2.0 * self.carriers / (1.0 - self.carriers / self.number).clamp(min=1.0 / self.number)
        freedom = freedom.clamp(max=max(self.number - 1.0, 1.0))
        t = _student(level, freedom)
        seen = self.skewness
        guessed = (1.0 + self.shape.nan_to_num(nan=_UNSEEN).clamp(0.0, _UNSEEN)) * seen
        high = torch.minimum(_unskewed(-t, seen), _unskewed(-t, guessed))
        low = torch.maximum(_unskewed(t, seen), _unskewed(t, guessed))
        # 0 · inf is NaN: if the error is infinite, so is the interval.
        infinite = self.error.isinf()
        return (
            torch.where(infinite, -math.inf, -self.error * low),
            torch.where(infinite, math.inf, -self.error * high),
        )


def _shapes(values: Tensor) -> Tensor:
    """k̂ (…) of the largest of values (n, …); NaN with fewer than 25 values, or if one is infinite."""
    size, columns = tail_size(len(values)), values.flatten(1) if values.dim() > 1 else values[:, None]
    shapes = [math.nan] * columns.shape[1]
    if size >= 5:
        for k, column in enumerate(columns.unbind(1)):
            largest = column.nan_to_num(nan=math.inf, posinf=math.inf).topk(size + 1).values.flip(0)
            if largest[-1].isfinite():
                shapes[k] = relevant_shape(largest / largest[-1]) if largest[-1] > 0 else -math.inf
    return torch.tensor(shapes, dtype=torch.float64).reshape(values.shape[1:])


def _student(level: float, freedom: Tensor) -> Tensor:
    """The two-sided quantile of Student's t, by its expansion in 1/freedom (Abramowitz & Stegun 26.7.5)."""
    z = torch.special.ndtri(torch.tensor(0.5 + 0.5 * level, dtype=torch.float64))
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    t: Tensor = z + first / freedom + second / freedom.square()
    return t


def _unskewed(z: Tensor, skewness: Tensor) -> Tensor:
    """The studentised deviation t with g(t) = z, where g is Hall's cubic for a sum of this skewness."""
    s = skewness.clamp(-_STEEPEST, _STEEPEST)
    safe = torch.where(s.abs() < 1e-4, 1.0, s)
    inside = 1 + s * (z - s / 6)
    root = inside.sign() * inside.abs() ** (1 / 3)
    return torch.where(s.abs() < 1e-4, z - s * (1 + 2 * z.square()) / 6, 3 / safe * (root - 1))
