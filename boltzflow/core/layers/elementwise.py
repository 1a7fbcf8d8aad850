"""Element-wise maps with their own parameters, independent of the other coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.core.distributions.parameter import check_broadcasts, make_parameter
from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.core.nets import ContextParameter
from boltzflow.core.transformers import Transformer
from boltzflow.errors import DomainError, OptionError


class ElementwiseAffine(Bijection):
    """x = scale · z + shift on real coordinates, learned or fixed.

    The scaling layer of NICE (Dinh et al. 2014, arXiv 1410.8516). With class labels as context each class has
    its own scale and shift.

    Args:
        domain: real, of any event shape.
        scale: positive, broadcasts to the event shape; by default 1 for each coordinate. To share values along an
            axis, use length 1 there: (C, 1, 1) for one number per channel.
        shift: broadcasts to the event shape; by default 0 for each coordinate.
        trainable: whether scale and shift are learned; they always are with a context.
        context_size: size of the context on which log scale and shift depend linearly; 0 for none.

    Raises:
        DomainError: if a coordinate is not real.
        ShapeError: if scale or shift do not broadcast to the event shape.
        OptionError: if a scale is not positive.

    >>> layer = ElementwiseAffine(Domain.real(2), torch.tensor([2.0, 1.0]), torch.tensor([0.0, 3.0]), trainable=False)
    >>> x, log_ratio = layer(torch.ones(1, 2))
    >>> x.tolist(), log_ratio.exp().round().tolist()
    ([[2.0, 4.0]], [2.0])
    """

    def __init__(
        self,
        domain: Domain,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        *,
        trainable: bool = True,
        context_size: int = 0,
    ) -> None:
        if found := [c for c in domain if c.kind != "real"]:
            raise DomainError(f"ElementwiseAffine: expected real coordinates; got {found[0]}.")
        super().__init__(domain, domain)
        scale = torch.ones(domain.shape) if scale is None else scale
        shift = torch.zeros(domain.shape) if shift is None else shift
        check_broadcasts(scale, domain.shape, "scale", "ElementwiseAffine")
        check_broadcasts(shift, domain.shape, "shift", "ElementwiseAffine")
        if not bool((scale > 0.0).all()):
            raise OptionError(f"ElementwiseAffine: expected positive scales; got {scale.min().item():g}.")
        # With all axes of the event shape, so that a batch broadcasts correctly.
        scale, shift = (t[(None,) * (len(domain.shape) - t.dim())] for t in (scale, shift))
        self.log_scale = make_parameter(scale.log(), trainable, context_size)
        self.shift = make_parameter(shift, trainable, context_size)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_scale = self.log_scale(context)
        return z * log_scale.exp() + self.shift(context), _sum(log_scale, z)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        log_scale = self.log_scale(context)
        return (x - self.shift(context)) * (-log_scale).exp(), -_sum(log_scale, x)


class Elementwise(Bijection):
    """A transformer whose parameters do not depend on the state, for example a spline for each coordinate.

    Initially the identity, if the transformer with zero parameters is the identity.

    Args:
        transformer: of a flat domain or an array; each coordinate has its own parameters.
        context_size: size of the context on which the parameters depend linearly; 0 for none.

    >>> from boltzflow.core import transformers
    >>> layer = Elementwise(transformers.RationalQuadratic(Domain.interval(0.0, 1.0, 3), bins=4))
    >>> x, log_ratio = layer(torch.rand(5, 3))
    """

    def __init__(self, transformer: Transformer, *, context_size: int = 0) -> None:
        super().__init__(transformer.domain, transformer.domain)
        self.transformer = transformer
        shape = (transformer.parameter_count, *transformer.domain.shape)
        self.raw = ContextParameter(torch.zeros(shape), context_size)
        self.flat = len(transformer.domain.shape) == 1

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        parameters = self._raw_parameters(z, context)
        if self.flat:
            x, log_slope = self.transformer(z.T, parameters)
            return x.T, log_slope.sum(0)
        x, log_slope = self.transformer(z, parameters)
        return x, log_slope.flatten(1).sum(1)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        parameters = self._raw_parameters(x, context)
        if self.flat:
            z, log_slope = self.transformer.inverse(x.T, parameters)
            return z.T, log_slope.sum(0)
        z, log_slope = self.transformer.inverse(x, parameters)
        return z, log_slope.flatten(1).sum(1)

    def _raw_parameters(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Raw parameters: (P, d, batch) for a flat domain, (P, batch, *shape) for an array."""
        parameters: Tensor = self.raw(context).expand(x.shape[0], *self.raw.value.shape)
        return parameters.movedim(0, -1 if self.flat else 1)


def _sum(log_scale: Tensor, like: Tensor) -> Tensor:
    """The sum (batch,) over the event of values that broadcast to the state."""
    return log_scale.expand(like.shape).flatten(1).sum(1)
