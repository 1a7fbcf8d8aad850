"""Autoregressive layers: each coordinate is transformed conditional on the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from boltzflow.core.functional import permute_rows
from boltzflow.core.layer import Bijection
from boltzflow.core.nets import MADE, DomainFeatures
from boltzflow.core.precision import HasNet
from boltzflow.core.transformers import Transformer
from boltzflow.errors import OptionError, ShapeError


class Autoregressive(HasNet, Bijection):
    """z_i = T(x_i; θ(x_<i)): data to latent in one pass, latent to data coordinate by coordinate.

    Papamakarios et al. 2017, arXiv 1705.07057 (MAF, with `transformers.Affine`); Durkan et al. 2019,
    arXiv 1906.04032 (with `transformers.RationalQuadratic`). `Inverse` of it is the inverse autoregressive flow
    (IAF, Kingma et al. 2016, arXiv 1606.04934), which samples in one pass.

    With fewer `passes` than coordinates, the coordinates are divided into that many groups, each transformed
    conditional on the groups before it. Two passes give a coupling that also transforms the conditioning half
    (unconditionally).
    Latent to data takes `passes` steps. Each hidden unit is computed once, as soon as its inputs are known, so that all
    steps together cost one pass through the net.

    Args:
        transformer: of all D coordinates of its domain. Its formula (`Transformer.forward`) maps data to latent.
        hidden, residual, dropout, activation: of the net, see `nets.MADE`.
        order: a permutation of 0 … D − 1: the position of each coordinate in the order; None for the natural order.
        passes: number of groups, 1 … D; None for D.
        location, width: (D,) or None: they set the scale of the net's inputs, see `Coupling`.
        context_size: size of the context that the net is conditioned on; 0 means that the context is ignored.

    Raises:
        ShapeError: if the order is not a permutation of the coordinates.
        OptionError: if the number of passes is out of range.

    >>> from boltzflow.core import Domain, transformers
    >>> layer = Autoregressive(transformers.RationalQuadratic(Domain.real(1) + Domain.circle(2)), hidden=(16,))
    >>> z, log_ratio = layer.inverse(torch.zeros(5, 3))
    """

    split_order: Tensor
    join_order: Tensor

    def __init__(
        self,
        transformer: Transformer,
        *,
        hidden: Sequence[int] = (128, 128),
        order: Sequence[int] | Tensor | None = None,
        passes: int | None = None,
        residual: bool = False,
        dropout: float = 0.0,
        activation: type[nn.Module] = nn.SiLU,
        location: Tensor | None = None,
        width: Tensor | None = None,
        context_size: int = 0,
    ) -> None:
        domain = transformer.domain
        super().__init__(domain, domain)
        size = len(domain)
        places = torch.arange(size) if order is None else torch.as_tensor(order)
        if len(domain.shape) != 1 or sorted(places.tolist()) != [*range(size)]:
            raise ShapeError(f"Autoregressive: expected an order that permutes {size} coordinates; got {order}.")
        passes = size if passes is None else passes
        if not 1 <= passes <= size:
            raise OptionError(f"Autoregressive: expected 1 to {size} passes; got {passes}.")
        degrees = places * passes // size
        straight = [i for i, c in enumerate(domain) if c.kind != "circle"]
        circles = list(domain.indices("circle"))
        self.net_dtype = None
        self.transformer = transformer
        self.features = DomainFeatures(domain, location, width)
        self.net = MADE(
            degrees[straight + circles + circles].tolist(),
            degrees.repeat(transformer.parameter_count).tolist(),
            hidden,
            residual=residual,
            dropout=dropout,
            activation=activation,
            context_size=context_size,
        )
        groups = [(degrees == k).nonzero().squeeze(1) for k in range(passes)]
        self.sizes = [len(group) for group in groups]
        self.register_buffer("split_order", torch.cat(groups), persistent=False)
        self.register_buffer("join_order", self.split_order.argsort(), persistent=False)
        # The parts of the transformer and of the features, one for each step.
        self.parts = nn.ModuleList(transformer.select(group) for group in groups)
        self.views = nn.ModuleList(
            DomainFeatures(
                domain[group.tolist()],
                None if location is None else location[group],
                None if width is None else width[group],
            )
            for group in groups
        )

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        steps = self.net.steps(z.shape[0], context)
        found, log_slopes = [], []
        waiting = permute_rows(z.T, self.split_order, self.join_order).split(self.sizes)  # type: ignore[no-untyped-call]
        for here, part, view in zip(waiting, self.parts, self.views, strict=True):
            with self.net_precision(z):
                raw = steps.outputs().to(z.dtype).view(self.transformer.parameter_count, *here.shape)
            x, log_slope = cast(Transformer, part).inverse(here, raw)
            found.append(x)
            log_slopes.append(log_slope)
            steps.feed(view(x.T).T)
        return permute_rows(torch.cat(found), self.join_order, self.split_order).T, torch.cat(log_slopes).sum(0)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        with self.net_precision(x):
            raw = self.net.rows(features, context)
        z, log_slope = self.transformer(x.T, raw.view(self.transformer.parameter_count, *x.T.shape))
        return z.T, log_slope.sum(0)

    @property
    def whole_directions(self) -> tuple[str, ...]:
        """Data to latent only, because latent to data is a loop over the passes."""
        return ("inverse",)

    def extra_repr(self) -> str:
        return f"{len(self.parts)} passes"
