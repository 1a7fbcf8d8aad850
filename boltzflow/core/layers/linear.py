"""Linear maps: permutations, and mixing of coordinates or channels by an invertible matrix."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from boltzflow.core.domain import Domain
from boltzflow.core.functional import permute_rows
from boltzflow.core.layer import Bijection
from boltzflow.core.layers.matrices import (
    DenseMatrix,
    HouseholderMatrix,
    InvertibleMatrix,
    LUMatrix,
    random_orthogonal,
)
from boltzflow.core.nets import ContextParameter
from boltzflow.errors import DomainError, OptionError


class Permutation(Bijection):
    """A fixed permutation of coordinates, or of the channels of an image: data i is latent ``order[i]``.

    Kinds, bounds and names of the coordinates are permuted too. Ignores `context`.

    Args:
        latent_domain: of D coordinates of any kinds, or an array whose first axis is permuted.
        order: ``"reverse"``, ``"shuffle"``, or a permutation of 0 … D − 1. A shuffled order is drawn once and is
            part of the state dict.
        generator: the random number generator of the shuffle; None for torch's global one.

    Raises:
        OptionError: if the order is not a permutation.

    >>> layer = Permutation(Domain.real(1) + Domain.circle(1), "reverse")
    >>> print(layer.data_domain)
    Domain[circle(-3.142, 3.142), real]
    >>> layer(torch.tensor([[5.0, 1.0]]))[0]
    tensor([[1., 5.]])
    """

    order: Tensor
    back: Tensor

    def __init__(
        self,
        latent_domain: Domain,
        order: Literal["reverse", "shuffle"] | Sequence[int] = "shuffle",
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        n = latent_domain.shape[0]
        if order == "reverse":
            index = torch.arange(n).flip(0)
        elif order == "shuffle":
            index = torch.randperm(n, generator=generator)
        else:
            if isinstance(order, str) or sorted(order) != list(range(n)):
                raise OptionError(
                    f"Permutation: expected 'reverse', 'shuffle' or a permutation of 0 … {n - 1}; got {order!r}."
                )
            index = torch.tensor(list(order))
        flat = len(latent_domain.shape) == 1
        super().__init__(latent_domain, latent_domain[index.tolist()] if flat else latent_domain)
        self.register_buffer("order", index)
        self.register_buffer("back", index.argsort())

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return permute_rows(z.transpose(0, 1), self.order, self.back).transpose(0, 1), z.new_zeros(z.shape[0])

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return permute_rows(x.transpose(0, 1), self.back, self.order).transpose(0, 1), x.new_zeros(x.shape[0])


class _Mixing(Bijection, ABC):
    """x = W·z + b along the first axis of the state."""

    def __init__(self, domain: Domain, matrix: InvertibleMatrix, bias: bool, context_size: int) -> None:
        super().__init__(domain, domain)
        self.matrix = matrix
        self.bias = ContextParameter(torch.zeros(matrix.size), context_size) if bias else None
        self.context_size = context_size
        self.copies = len(domain) // matrix.size

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        columns = self.matrix(self._columns(z), context)
        if self.bias is not None:
            columns = columns + self.bias(context)[:, :, None]
        return self._states(columns, z), self._log_ratio(z, context)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        columns = self._columns(x)
        if self.bias is not None:
            columns = columns - self.bias(context)[:, :, None]
        return self._states(self.matrix.solve(columns, context), x), -self._log_ratio(x, context)

    def _columns(self, x: Tensor) -> Tensor:
        """If all samples use one matrix, the batch is joined with the pixels, for one large product."""
        if self.context_size:
            return x.reshape(x.shape[0], self.matrix.size, self.copies)
        return x.transpose(0, 1).reshape(1, self.matrix.size, -1)

    def _states(self, columns: Tensor, like: Tensor) -> Tensor:
        if self.context_size:
            return columns.reshape(like.shape)
        return columns.reshape(like.transpose(0, 1).shape).transpose(0, 1)

    def _log_ratio(self, x: Tensor, context: Tensor | None) -> Tensor:
        return (self.copies * self.matrix.log_abs_det(context)).expand(x.shape[0])


class LULinear(_Mixing):
    """x = P·L·U·z + b with triangular L and U and a fixed permutation P (Kingma & Dhariwal 2018, arXiv 1807.03039).

    Invertible for all parameter values; costs D² per sample in both directions. Initially the permutation.
    With a context there is one matrix for each sample, so memory grows as batch · D².

    Args:
        domain: flat and real, of D coordinates.
        permutation: P: ``"reverse"``, ``"shuffle"``, or None for none.
        context_size: size of the context that L, U and b depend on; 0 for none.

    Raises:
        DomainError: if the domain is not flat and real.
        OptionError: if the permutation is unknown.

    >>> LULinear(Domain.real(2), permutation="reverse")(torch.tensor([[1.0, 2.0]]))[0].round()
    tensor([[2., 1.]], grad_fn=<RoundBackward0>)
    """

    def __init__(
        self, domain: Domain, *, permutation: Literal["reverse", "shuffle"] | None = "shuffle", context_size: int = 0
    ) -> None:
        _require(domain, 1, "LULinear")
        if permutation not in ("reverse", "shuffle", None):
            raise OptionError(f"LULinear: expected permutation 'reverse', 'shuffle' or None; got {permutation!r}.")
        n = len(domain)
        order = {"reverse": torch.arange(n).flip(0), "shuffle": torch.randperm(n), None: torch.arange(n)}[permutation]
        super().__init__(domain, LUMatrix(torch.eye(n)[order], context_size), True, context_size)


class InvertibleLinear(_Mixing):
    """x = W·z + b with a dense matrix W, which is initially a random rotation or the identity.

    Costs D³ per call for the determinant and for `inverse` (per sample with a context). W may become singular during
    training. Prefer `LULinear` for more than a few tens of coordinates.

    Args:
        domain: flat and real, of D coordinates.
        start: ``"orthogonal"`` or ``"identity"``.
        context_size: size of the context that W and b depend on; 0 for none.

    Raises:
        DomainError: if the domain is not flat and real.
        OptionError: if the start is unknown.

    >>> InvertibleLinear(Domain.real(3), start="identity")(torch.ones(1, 3))[1].tolist()
    [0.0]
    """

    def __init__(
        self, domain: Domain, *, start: Literal["orthogonal", "identity"] = "orthogonal", context_size: int = 0
    ) -> None:
        _require(domain, 1, "InvertibleLinear")
        if start not in ("orthogonal", "identity"):
            raise OptionError(f"InvertibleLinear: expected start 'orthogonal' or 'identity'; got {start!r}.")
        n = len(domain)
        matrix = random_orthogonal(n) if start == "orthogonal" else torch.eye(n)
        super().__init__(domain, DenseMatrix(matrix, context_size), True, context_size)


class Householder(_Mixing):
    """x = H₁·…·H_k·z: a product of reflections (Tomczak & Welling 2016, arXiv 1611.09630).

    Preserves volumes and lengths; D reflections can represent every orthogonal matrix. Costs k·D per sample in both
    directions. Initially the identity if k is even.

    Args:
        domain: flat and real, of D coordinates.
        reflections: the number of reflections k.
        context_size: size of the context that the reflections depend on; 0 for none.

    Raises:
        DomainError: if the domain is not flat and real.
        OptionError: if there is no reflection.

    >>> x, log_ratio = Householder(Domain.real(3), reflections=2)(torch.tensor([[3.0, 0.0, 4.0]]))
    >>> torch.allclose(x.norm(), torch.tensor(5.0)), log_ratio.item()
    (True, 0.0)
    """

    def __init__(self, domain: Domain, *, reflections: int = 2, context_size: int = 0) -> None:
        _require(domain, 1, "Householder")
        if reflections < 1:
            raise OptionError(f"Householder: expected at least 1 reflection; got {reflections}.")
        super().__init__(domain, HouseholderMatrix(len(domain), reflections, context_size), False, context_size)


class Invertible1x1Conv(_Mixing):
    """The channels of each pixel mixed by one matrix (Kingma & Dhariwal 2018, arXiv 1807.03039).

    Initially a random rotation. Costs C² per pixel in both directions. The determinant costs C³ per call with a dense
    matrix, and C with LU factors (whose signs and pivots are fixed).

    Args:
        domain: real, of shape (C, H, W).
        lu: whether the parameters are LU factors, instead of the entries.
        context_size: size of the context that the matrix depends on; 0 for none.

    Raises:
        DomainError: if the domain is not a real (C, H, W).

    >>> Invertible1x1Conv(Domain.real((3, 4, 4)))(torch.zeros(2, 3, 4, 4))[0].shape
    torch.Size([2, 3, 4, 4])
    """

    def __init__(self, domain: Domain, *, lu: bool = True, context_size: int = 0) -> None:
        _require(domain, 3, "Invertible1x1Conv")
        parametrisation = LUMatrix if lu else DenseMatrix
        matrix = parametrisation(random_orthogonal(domain.shape[0]), context_size)
        super().__init__(domain, matrix, False, context_size)


def _require(domain: Domain, axes: int, where: str) -> None:
    if len(domain.shape) != axes or len(domain.indices("real")) != len(domain):
        kind = "a flat real domain" if axes == 1 else "a real domain of shape (C, H, W)"
        raise DomainError(f"{where}: expected {kind}; got {domain}.")
