"""Invertible matrices: parametrisations of linear layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from boltzflow.core.functional import permute_rows
from boltzflow.core.nets import ContextParameter

_FLOOR = 1e-3  # the minimum absolute value on the diagonal of U


class InvertibleMatrix(nn.Module, ABC):
    """A matrix W (n, n), or one for each context.

    Vectors are columns: (1, n, m) if all samples share one matrix, (batch, n, m) with one matrix for each context.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def forward(self, columns: Tensor, context: Tensor | None) -> Tensor:
        """W · columns."""

    @abstractmethod
    def solve(self, columns: Tensor, context: Tensor | None) -> Tensor:
        """W⁻¹ · columns."""

    @abstractmethod
    def log_abs_det(self, context: Tensor | None) -> Tensor:
        """log |det W|, (1,) or (batch,)."""

    def extra_repr(self) -> str:
        return f"{self.size}×{self.size}"


class DenseMatrix(InvertibleMatrix):
    """All entries are parameters: costs n² to multiply a vector, n³ for the determinant and to solve."""

    def __init__(self, start: Tensor, context_size: int) -> None:
        super().__init__(len(start))
        self.weight = ContextParameter(start.to(torch.get_default_dtype()), context_size)

    def forward(self, columns: Tensor, context: Tensor | None) -> Tensor:
        out: Tensor = self.weight(context) @ columns
        return out

    def solve(self, columns: Tensor, context: Tensor | None) -> Tensor:
        out: Tensor = torch.linalg.solve(self.weight(context), columns)
        return out

    def log_abs_det(self, context: Tensor | None) -> Tensor:
        out: Tensor = torch.linalg.slogdet(self.weight(context)).logabsdet
        return out


class LUMatrix(InvertibleMatrix):
    """W = P·L·U, with a fixed permutation P and fixed signs on the diagonal of U: costs n² in both directions.

    L has ones on its diagonal; the absolute values on that of U are softplus(raw) + 10⁻³, so that W is
    invertible for all parameter values. L, raw diagonal and U are packed into one array.
    """

    order: Tensor
    back: Tensor
    sign: Tensor

    def __init__(self, start: Tensor, context_size: int) -> None:
        super().__init__(len(start))
        permutation, lower, upper = torch.linalg.lu(start.double())
        diagonal = upper.diagonal()
        raw = (diagonal.abs() - _FLOOR).clamp(min=_FLOOR).expm1().log()
        packed = lower.tril(-1) + raw.diag() + upper.triu(1)
        self.packed = ContextParameter(packed.to(torch.get_default_dtype()), context_size)
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("back", permutation.argmax(0))
        self.register_buffer("sign", diagonal.sign().to(torch.get_default_dtype()))

    def forward(self, columns: Tensor, context: Tensor | None) -> Tensor:
        lower, upper = self._factors(context)
        return _permute(lower @ (upper @ columns), self.order, self.back)

    def solve(self, columns: Tensor, context: Tensor | None) -> Tensor:
        lower, upper = self._factors(context)
        columns = _permute(columns, self.back, self.order)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        out: Tensor = torch.linalg.solve_triangular(upper, columns, upper=True)
        return out

    def log_abs_det(self, context: Tensor | None) -> Tensor:
        return self._absolute_diagonal(self.packed(context)).log().sum(-1)

    def _factors(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        packed = self.packed(context)
        lower = packed.tril(-1) + torch.eye(self.size, dtype=packed.dtype, device=packed.device)
        return lower, packed.triu(1) + (self.sign * self._absolute_diagonal(packed)).diag_embed()

    @staticmethod
    def _absolute_diagonal(packed: Tensor) -> Tensor:
        return softplus(packed.diagonal(dim1=-2, dim2=-1)) + _FLOOR


class HouseholderMatrix(InvertibleMatrix):
    """W = H₁·H₂·…·H_k with reflections Hᵢ = 1 − 2 vᵢvᵢᵀ/|vᵢ|²: orthogonal, k·n in both directions.

    The vectors are initially equal in pairs, whose reflections cancel: W is initially the identity if k is even, and a
    single reflection if it is odd.
    """

    def __init__(self, size: int, reflections: int, context_size: int) -> None:
        super().__init__(size)
        pairs = torch.randn((reflections + 1) // 2, size)
        self.vectors = ContextParameter(pairs.repeat_interleave(2, 0)[:reflections], context_size)

    def forward(self, columns: Tensor, context: Tensor | None) -> Tensor:
        for v in reversed(self.vectors(context).unbind(1)):
            columns = _reflect(columns, v)
        return columns

    def solve(self, columns: Tensor, context: Tensor | None) -> Tensor:
        for v in self.vectors(context).unbind(1):
            columns = _reflect(columns, v)
        return columns

    def log_abs_det(self, context: Tensor | None) -> Tensor:
        vectors: Tensor = self.vectors(context)
        return vectors.new_zeros(vectors.shape[0])


def random_orthogonal(size: int) -> Tensor:
    """A random orthogonal matrix (size, size), float64, uniform on the orthogonal group (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    out: Tensor = q * r.diagonal().sign()
    return out


def _permute(columns: Tensor, order: Tensor, back: Tensor) -> Tensor:
    return permute_rows(columns.transpose(0, 1), order, back).transpose(0, 1)


def _reflect(columns: Tensor, v: Tensor) -> Tensor:
    """columns (b, n, m), v (b, n)."""
    share = 2.0 * (v[:, None] @ columns) / v.square().sum(-1)[:, None, None]
    out: Tensor = columns - v[:, :, None] * share
    return out
