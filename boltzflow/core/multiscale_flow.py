"""Flows of images with latent variables at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Distribution, Normal
from boltzflow.core.domain import Domain
from boltzflow.core.flow import Flow
from boltzflow.core.layer import Layer
from boltzflow.core.layers.multiscale import Multiscale, split_parts
from boltzflow.errors import DomainError, UnsupportedCombinationError


class MultiscaleFlow(Flow):
    """A `Flow` through the levels of a `Multiscale` layer, with one base for each level.

    Dinh et al. 2016, arXiv 1605.08803; Kingma & Dhariwal 2018, arXiv 1807.03039.

    Args:
        bases: the bases of the numbers that enter at each level, from the deepest to the data.
        levels: see `layers.Multiscale`, in the same order.

    Raises:
        DomainError: if the domains of two levels do not match, or a base is not on the domain of its level's part.

    >>> from boltzflow.core import distributions, layers
    >>> levels = [layers.Squeeze(Domain.real((2, 4, 4))), layers.Squeeze(Domain.real((1, 8, 8)))]
    >>> bases = [distributions.GlowNormal(Domain.real(shape)) for shape in ((8, 2, 2), (2, 4, 4))]
    >>> flow = MultiscaleFlow(bases, levels)
    >>> x, log_q = flow.sample(3, temperature=0.7)
    >>> x.shape, flow.log_prob(x).shape
    (torch.Size([3, 1, 8, 8]), torch.Size([3]))
    """

    def __init__(self, bases: Sequence[Distribution], levels: Sequence[Layer]) -> None:
        transform = Multiscale(levels)
        if [base.domain for base in bases] != list(transform.parts):
            raise DomainError(
                f"MultiscaleFlow: expected bases on {', '.join(map(str, transform.parts))}; "
                f"got {', '.join(str(base.domain) for base in bases)}."
            )
        super().__init__(_Parts(bases), transform)

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Flow.sample`; `temperature` scales the standard deviations of all bases.

        The log-densities are those of the samples, at their temperature.

        Raises:
            UnsupportedCombinationError: if a base has no temperature.
            OptionError: if the temperature is not positive.
        """
        if temperature != 1.0:
            return self.tempered(temperature).sample(n, context, generator=generator)
        return super().sample(n, context, generator=generator)

    def tempered(self, temperature: float) -> MultiscaleFlow:
        """The same flow with standard deviations of all bases multiplied by `temperature`; parameters are shared.

        Raises:
            UnsupportedCombinationError: if a base has no temperature.
            OptionError: if the temperature is not positive.
        """
        parts: _Parts = self.base  # type: ignore[assignment]
        levels: list[Layer] = list(self.transform.levels)  # type: ignore[arg-type]
        return MultiscaleFlow(parts.tempered(temperature), levels)


class _Parts(Distribution):
    """Independent densities on arrays, flattened and concatenated."""

    def __init__(self, bases: Sequence[Distribution]) -> None:
        super().__init__(Domain.real(sum(len(base.domain) for base in bases)))
        self.bases = nn.ModuleList(bases)

    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        drawn = [base.sample(n, context, generator=generator) for base in self._bases]
        return torch.cat([z.flatten(1) for z, _ in drawn], 1), torch.stack([log_p for _, log_p in drawn]).sum(0)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        parts = split_parts(x, [base.domain for base in self._bases])
        pairs = zip(self._bases, parts, strict=True)
        return torch.stack([base.log_prob(part, context) for base, part in pairs]).sum(0)

    def tempered(self, temperature: float) -> list[Distribution]:
        siblings: list[Distribution] = []
        for base in self._bases:
            if not isinstance(base, Normal):
                raise UnsupportedCombinationError(
                    f"MultiscaleFlow: expected normal bases, which have a temperature; got {type(base).__name__}."
                )
            siblings.append(base.tempered(temperature))
        return siblings

    @property
    def _bases(self) -> list[Distribution]:
        return list(self.bases)  # type: ignore[arg-type]
