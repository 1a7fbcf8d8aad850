"""Couplings: some coordinates are transformed conditional on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.functional import linear_rows, permute_rows
from boltzflow.core.layer import Bijection
from boltzflow.core.nets import MLP, DomainFeatures, join_context
from boltzflow.core.precision import HasNet
from boltzflow.core.transformers import Affine, IntervalAffine, RationalQuadratic, Scale, Transformer
from boltzflow.errors import DomainError, OptionError

MakeNet = Callable[[int], nn.Module]
"""Number of inputs → a net that ends in an activation and has the attribute `out_features`."""


class Coupling(HasNet, Bijection):
    """Some coordinates are transformed with parameters that a net computes from the others.

    Dinh et al. 2014, arXiv 1410.8516. Each direction costs one pass through the net. Initially the identity, if the
    transformer with zero parameters is the identity.

    Args:
        transformer: of all D coordinates of its domain; only the masked ones are transformed.
        mask: D booleans: True for transformed coordinates (see `boltzflow.core.functional`).
        conditioner: builds the conditioner network (without its last linear layer) from the number of its inputs; by
            default an `MLP` with two hidden layers of 128.
        location, width: (D,) or None: the expected center and spread of each coordinate, in the domain's units;
            infinite widths mean that it may be anywhere. They set the scale of the net's inputs.
        context_size: size of the context that the net is conditioned on; 0 means that the context is ignored.
        given: D booleans: the coordinates that the net is conditioned on; by default all that are not transformed.
        harmonics: number of cosines and sines of each circle that the net gets (see `nets.DomainFeatures`).
        simple: a transformer of the same domain's coordinates `simply`, with fewer parameters, for those of the
            transformed coordinates that it can serve; None if there are none.
        simply: (d',) indices of the coordinates of `simple`.

    Raises:
        DomainError: if the domain is not flat, or a mask is not one boolean for each coordinate.
        OptionError: if nothing is transformed.

    >>> from boltzflow.core import transformers
    >>> layer = Coupling(transformers.Affine(Domain.real(3)), mask=[True, False, False])
    >>> x, log_ratio = layer(torch.zeros(5, 3))
    """

    split_order: Tensor
    join_order: Tensor

    def __init__(
        self,
        transformer: Transformer,
        mask: Sequence[bool] | Tensor,
        *,
        conditioner: MakeNet | None = None,
        location: Tensor | None = None,
        width: Tensor | None = None,
        context_size: int = 0,
        given: Sequence[bool] | Tensor | None = None,
        harmonics: int = 1,
        simple: Transformer | None = None,
        simply: Sequence[int] = (),
    ) -> None:
        domain = transformer.domain
        super().__init__(domain, domain)
        name, mask = type(self).__name__, torch.as_tensor(mask, dtype=torch.bool)
        shown = ~mask if given is None else torch.as_tensor(given, dtype=torch.bool)
        for booleans in (mask, shown):
            if len(domain.shape) != 1 or booleans.shape != domain.shape:
                raise DomainError(
                    f"{name}: expected a mask of {len(domain)} booleans; got {booleans.numel()} for {domain}."
                )
        if not mask.any():
            raise OptionError(f"{name}: expected a mask that transforms at least one coordinate; got none.")
        if (mask & shown).any():
            raise OptionError(f"{name}: expected given coordinates that are not transformed; got transformed ones.")
        self.context_size = context_size
        self.net_dtype = None
        chosen, kept = mask.nonzero().squeeze(1), (~mask).nonzero().squeeze(1)
        places = {} if simple is None else {number: place for place, number in enumerate(simply)}
        few = torch.tensor([i for i in chosen.tolist() if i in places], dtype=torch.long)
        full = torch.tensor([i for i in chosen.tolist() if i not in places], dtype=torch.long)
        parts = [transformer.select(full)] if len(full) else []
        if simple is not None and len(few):
            parts.append(simple.select(torch.tensor([places[i] for i in few.tolist()])))
        self.transformer, self.simple = parts[0], parts[1] if len(parts) > 1 else None
        self.register_buffer("split_order", torch.cat([kept, full, few]), persistent=False)
        self.register_buffer("join_order", self.split_order.argsort(), persistent=False)
        self.moved = len(chosen)

        self.features = DomainFeatures(domain, location, width, visible=shown, harmonics=harmonics)
        make = conditioner if conditioner is not None else (lambda inputs: MLP(inputs, (128, 128)))
        # It keeps the name that it has in saved flows.
        self.trunk = make(self.features.size + context_size) if self.features.size + context_size else _Constant()
        outputs = int(self.trunk.out_features)  # type: ignore[arg-type]
        self.head = nn.Linear(outputs, sum(part.parameter_count * len(part.domain) for part in parts))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(z, context, inverse=False)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._transform(x, context, inverse=True)

    def _transform(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        inputs = join_context(self.features(x), context, self.context_size, type(self).__name__)
        # The batch comes last here, so that the kernel runs over contiguous memory for each parameter.
        with self.net_precision(inputs):
            raw = linear_rows(self.trunk(inputs), self.head.weight, self.head.bias)
        rows = permute_rows(x.T, self.split_order, self.join_order)
        moved, log_ratio = [rows[: len(rows) - self.moved]], x.new_zeros(len(x))
        first, own = len(rows) - self.moved, 0
        for part in (self.transformer, self.simple):
            if part is not None:
                moving = rows[first : first + len(part.domain)]
                parameters = raw[own : own + part.parameter_count * len(moving)]
                run = part.inverse if inverse else part.forward
                image, log_slope = run(moving, parameters.view(part.parameter_count, *moving.shape))
                moved.append(image)
                log_ratio = log_ratio + log_slope.sum(0)
                first, own = first + len(moving), own + len(parameters)
        return permute_rows(torch.cat(moved), self.join_order, self.split_order).T, log_ratio

    def extra_repr(self) -> str:
        return f"{self.moved} of {len(self.data_domain)} coordinates"


class _Constant(nn.Module):
    """The net of a coupling without inputs: the parameters of its transformer are constants."""

    out_features = 1

    def forward(self, x: Tensor) -> Tensor:
        return x.new_ones(len(x), 1)


class AffineCoupling(Coupling):
    """A coupling with an affine transformer: NICE with a shift only, RealNVP with scale and shift.

    Dinh et al. 2014, arXiv 1410.8516; Dinh et al. 2016, arXiv 1605.08803.

    Args:
        domain: flat, of D real coordinates or circles (which are only shifted).
        mask: D booleans: True for transformed coordinates.
        scale: ``"additive"``, ``"exp"``, ``"sigmoid"`` or ``"inverse_sigmoid"``, see `transformers.Affine`.
        conditioner, context_size: as in `Coupling`.

    >>> layer = AffineCoupling(Domain.real(2), mask=[True, False])
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    def __init__(
        self,
        domain: Domain,
        mask: Sequence[bool] | Tensor,
        *,
        scale: Scale = "exp",
        conditioner: MakeNet | None = None,
        context_size: int = 0,
    ) -> None:
        super().__init__(Affine(domain, scale), mask, conditioner=conditioner, context_size=context_size)


class SplineCoupling(Coupling):
    """A coupling of rational-quadratic splines on real lines, intervals and circles.

    Durkan et al. 2019, arXiv 1906.04032; circles after Rezende et al. 2020, arXiv 2002.02428.

    Args:
        domain: flat, of D coordinates of any kinds.
        mask: D booleans: True for transformed coordinates.
        bins, bound, seam: as in `transformers.RationalQuadratic`.
        location, width: (D,) or None, for the scale of the net's inputs and for the initial knots.
        conditioner, context_size, given, harmonics: as in `Coupling`.
        affine: indices of coordinates that are no circles, which are transformed by `transformers.IntervalAffine`
            instead of a spline, if they are transformed: two parameters instead of 3·bins + 1, for narrow and nearly
            normal densities.

    >>> domain = Domain.real(1) + Domain.circle(1)
    >>> layer = SplineCoupling(domain, mask=[False, True], bins=4)
    >>> x, log_ratio = layer(torch.zeros(5, 2))
    """

    def __init__(
        self,
        domain: Domain,
        mask: Sequence[bool] | Tensor,
        *,
        bins: int = 8,
        conditioner: MakeNet | None = None,
        bound: float | Tensor = 5.0,
        location: Tensor | None = None,
        width: Tensor | None = None,
        seam: Tensor | None = None,
        context_size: int = 0,
        given: Sequence[bool] | Tensor | None = None,
        harmonics: int = 1,
        affine: Sequence[int] = (),
    ) -> None:
        transformer = RationalQuadratic(domain, bins=bins, bound=bound, location=location, width=width, seam=seam)
        own = [None if values is None else values[list(affine)] for values in (location, width)]
        super().__init__(
            transformer,
            mask,
            conditioner=conditioner,
            location=location,
            width=width,
            context_size=context_size,
            given=given,
            harmonics=harmonics,
            simple=IntervalAffine(domain[list(affine)], *own) if affine else None,
            simply=affine,
        )
