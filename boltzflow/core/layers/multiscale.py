"""Multiscale architecture: parts of the latent state enter at different levels of resolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Layer, StochasticLayer
from boltzflow.errors import DomainError


class Multiscale(Layer):
    """Levels from the deepest to the data; the input of each is the output of the previous one plus latent channels.

    Dinh et al. 2016, arXiv 1605.08803. From data to latent, each level except the deepest passes part of its
    channels to the base and the rest to the next level. The levels' domains determine how many enter at each level.
    The latent state is flat: all latent numbers in the order in which they enter.

    Args:
        levels: real, of event shapes (C, …); the output of level i has fewer channels than the input of level i + 1,
            and agrees in all other axes.

    Attributes:
        parts: the domain of the latent numbers that enter at each level.

    Raises:
        DomainError: if the domains of two levels do not match.

    >>> from boltzflow.core import layers
    >>> deep, shallow = layers.Squeeze(Domain.real((2, 4, 4))), layers.Squeeze(Domain.real((1, 8, 8)))
    >>> multiscale = Multiscale([deep, shallow])
    >>> [part.shape for part in multiscale.parts]
    [(8, 2, 2), (2, 4, 4)]
    >>> multiscale(torch.zeros(5, 64))[0].shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(self, levels: Sequence[Layer]) -> None:
        if not levels:
            raise DomainError("Multiscale: expected at least one level; got none.")
        parts = [levels[0].latent_domain]
        for i, level in enumerate(levels[1:], 1):
            (inner, *pixels), (outer, *same) = levels[i - 1].data_domain.shape, level.latent_domain.shape
            if pixels != same or inner >= outer:
                raise DomainError(
                    f"Multiscale: expected the input of level {i} to have more channels than the output of level "
                    f"{i - 1}, and the same pixels; got {level.latent_domain} after {levels[i - 1].data_domain}."
                )
            parts.append(Domain.real((outer - inner, *same)))
        for level in levels:
            if found := [c for c in (*level.latent_domain, *level.data_domain) if c.kind != "real"]:
                raise DomainError(f"Multiscale: expected real coordinates; got {found[0]}.")
        super().__init__(Domain.real(sum(map(len, parts))), levels[-1].data_domain)
        self.parts = tuple(parts)
        self.levels = nn.ModuleList(levels)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        fresh = split_parts(z, self.parts)
        x, log_ratio = self.levels[0](fresh[0], context, generator=generator)
        for level, part in zip(self.levels[1:], fresh[1:], strict=True):
            x, step = level(torch.cat([x, part], 1), context, generator=generator)
            log_ratio = log_ratio + step
        return x, log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_ratio = x.new_zeros(x.shape[0])
        gone: list[Tensor] = []
        for level, part in zip(reversed(self._levels), reversed(self.parts), strict=True):
            x, step = level.inverse(x, context, generator=generator)
            log_ratio = log_ratio + step
            x, leaving = x.tensor_split([x.shape[1] - part.shape[0]], 1)
            gone.append(leaving.flatten(1))
        return torch.cat(gone[::-1], 1), log_ratio

    @property
    def _levels(self) -> list[Layer]:
        return list(self.levels)  # type: ignore[arg-type]

    @property
    def stochastic_layers(self) -> tuple[StochasticLayer, ...]:
        return tuple(found for level in self._levels for found in level.stochastic_layers)

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """The directions that all levels have in common."""
        return tuple(n for n in ("forward", "inverse") if all(n in level.whole_directions for level in self._levels))

    def compile_directions(self, together: bool = False) -> None:
        """Compile each level separately."""
        for level in self._levels:
            level.compile_directions(together)


def split_parts(z: Tensor, parts: Sequence[Domain]) -> list[Tensor]:
    """Split numbers (batch, D) into arrays (batch, *shape), one for each domain."""
    ends = list(accumulate(map(len, parts)))
    pieces = z.tensor_split(ends[:-1], 1)
    return [piece.reshape(len(piece), *part.shape) for piece, part in zip(pieces, parts, strict=True)]
