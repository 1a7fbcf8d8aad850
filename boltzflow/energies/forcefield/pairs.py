"""All pairs of atoms, each once, and energies that are functions of pair distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from boltzflow.core.functional import stored
from boltzflow.energies.forcefield.term import Term, pair_forces


class Pairs(nn.Module):
    """The P pairs i < j of N atoms, with conversions to and from the (N, N) ordered pairs.

    The last row represents the diagonal: an atom with itself, at a distance of 1 nm.
    """

    first: Tensor
    second: Tensor
    table: Tensor
    itself: Tensor

    def __init__(self, n_atoms: int) -> None:
        super().__init__()
        self.n_atoms = n_atoms
        i, j = torch.triu_indices(n_atoms, n_atoms, 1)
        table = torch.full((n_atoms, n_atoms), len(i))
        table[i, j] = table[j, i] = torch.arange(len(i))
        self.register_buffer("first", torch.cat([i, torch.zeros(1, dtype=torch.long)]))
        self.register_buffer("second", torch.cat([j, torch.zeros(1, dtype=torch.long)]))
        self.register_buffer("table", table.flatten())
        self.register_buffer("itself", torch.cat([torch.zeros(len(i)), torch.ones(1)]).double()[:, None])

    def squared_distances(self, x: Tensor) -> Tensor:
        """(3, N, batch) → (P + 1, batch)."""
        d = x.index_select(1, self.first) - x.index_select(1, self.second)
        return d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + self.itself

    def ordered(self, values: Tensor) -> Tensor:
        """(P + 1, batch) → (N, N, batch)."""
        return values.index_select(0, self.table).view(self.n_atoms, self.n_atoms, -1)

    def product(self, values: Tensor) -> Tensor:
        """(N, batch) → v_i v_j (P + 1, batch)."""
        return values.index_select(0, self.first) * values.index_select(0, self.second)

    def both(self, values: Tensor) -> Tensor:
        """(N, N, batch) → v_ij + v_ji (P + 1, batch)."""
        flat = values.flatten(0, 1)
        there = flat.index_select(0, self.first * self.n_atoms + self.second)
        return there + flat.index_select(0, self.second * self.n_atoms + self.first)

    def forces(self, weight: Tensor, x: Tensor) -> Tensor:
        """Σⱼ weight_ij (x_i − x_j): (P + 1, batch), (3, N, batch) → (3, N, batch)."""
        return pair_forces(self.ordered(weight), [component[:, None] - component for component in x.unbind(0)])


def of_pairs(matrix: Tensor) -> Tensor:
    """A symmetric matrix (N, N) of constants → (P + 1, 1), zero for the diagonal."""
    i, j = torch.triu_indices(len(matrix), len(matrix), 1)
    return torch.cat([matrix[i, j], matrix.new_zeros(1)])[:, None]


class PairTerm(nn.Module, ABC):
    """A part of `AllPairs`."""

    @abstractmethod
    def forward(self, pairs: Pairs, r_squared: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """r² and 1/r (P + 1, batch) → energies (batch,), and −1/r times their derivatives dE/dr (P + 1, batch)."""


class AllPairs(Term):
    """Pair terms that share the computation of pair distances and the summation of forces on atoms."""

    def __init__(self, parts: Iterable[PairTerm], n_atoms: int) -> None:
        super().__init__()
        self.pairs = Pairs(n_atoms)
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r_squared = stored(self.pairs.squared_distances(x))
        inverse = stored(torch.rsqrt(r_squared))
        energies, weights = zip(*(part(self.pairs, r_squared, inverse) for part in self.parts), strict=True)
        return sum(energies[1:], energies[0]), self.pairs.forces(stored(sum(weights[1:], weights[0])), x)


def sharing_pairs(terms: Sequence[Term], n_atoms: int) -> list[Term]:
    """The same terms, with all pair terms combined into one."""
    parts = [cast(PairTerm, part) for term in terms if isinstance(term, AllPairs) for part in term.parts]
    others = [term for term in terms if not isinstance(term, AllPairs)]
    return [*others, AllPairs(parts, n_atoms)] if parts else others
