"""Ready-made flows from a Domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Distribution, Independent
from boltzflow.core.domain import Domain
from boltzflow.core.flow import Flow
from boltzflow.core.functional import alternating_mask
from boltzflow.core.layer import Chain, Layer
from boltzflow.core.layers import AffineCoupling, Autoregressive, ElementwiseAffine, SplineCoupling
from boltzflow.core.nets import MLP, ResidualNet
from boltzflow.core.recipes_image import glow
from boltzflow.core.transformers import Affine, RationalQuadratic, Scale, Transformer
from boltzflow.errors import DomainError, OptionError

__all__ = ["autoregressive_spline_flow", "glow", "maf", "realnvp", "spline_flow"]


def spline_flow(
    domain: Domain,
    *,
    layers: int | Sequence[int] = 12,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    net: str = "mlp",
    location: Tensor | None = None,
    width: Tensor | None = None,
    bound: float = 5.0,
    context_size: int = 0,
    seed: int = 0,
    base: Distribution | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    harmonics: int = 1,
    affine: int = 0,
) -> Flow:
    """A neural spline flow on a mixed domain (Durkan et al. 2019; Rezende et al. 2020).

    Couplings come in pairs. The first transforms a random half of the coordinates (half of the circles, half of the
    others) conditional on the rest, the second transforms the rest conditional on that half. Each coupling cuts the
    circles open at another place. The flow is initially the identity, so that its first samples are those of the
    base. A single coordinate is transformed by every coupling, conditional on the context if there is one.

    With `groups` the density is a product of conditional densities. The couplings of the first group transform this
    group only; those of the second group transform it conditional on the first group, and so on. They are smaller than
    couplings of all coordinates.

    Args:
        domain: flat.
        layers: number of couplings; with groups, one number for each group or one for all.
        hidden: sizes of the hidden layers of each conditioner.
        bins: number of bins of each spline.
        net: ``"mlp"``, or ``"residual"`` (then all sizes in `hidden` are equal, each one a block).
        location, width: (D,) or None: the initial base (see `Independent` and `SplineCoupling`).
        bound: real coordinates are transformed within location ± bound·width.
        context_size: size of the context; 0 for an unconditional flow.
        seed: the random seed of masks, seams and weights; the global random state is not changed. Masks and seams are
            not part of the state dict, but its fingerprints depend on them: a flow of another seed refuses to load it.
        base: on the same domain; by default `Independent` with this location and width.
        groups: indices of the coordinates of each group; each coordinate is in one group. None for a single group.
        harmonics: number of cosines and sines of each circle that the nets get.
        affine: number of the couplings, the first of each group, in which lines and intervals of finite `width` are
            transformed affinely (see `layers.SplineCoupling`). This costs less, and the later couplings bend them.

    Raises:
        OptionError: if the net is unknown, a group is empty, or the groups are not a partition.

    >>> spline_flow(Domain.real(1) + Domain.circle(1), layers=2).domain.names
    ('x0', 'x1')
    """
    parts = [list(range(len(domain)))] if groups is None else [list(group) for group in groups]
    counts = [layers] * len(parts) if isinstance(layers, int) else list(layers)
    if not all(parts) or not parts:
        raise OptionError(f"spline_flow: expected at least one coordinate in each group; got {parts} of {domain}.")
    if sorted(i for part in parts for i in part) != list(range(len(domain))) or len(counts) != len(parts):
        raise OptionError(
            f"spline_flow: expected each of {len(domain)} coordinates in exactly one group, and one number of layers "
            f"or one for each group; got {len(parts)} groups and {len(counts)} numbers."
        )
    conditioner = _conditioner(net, tuple(hidden))
    circles = domain[domain.indices("circle")]
    low, high = circles.lows(torch.empty(0)), circles.highs(torch.empty(0))
    narrow = (
        [] if width is None else [i for i, c in enumerate(domain) if c.kind != "circle" and bool(width[i].isfinite())]
    )
    couplings: list[SplineCoupling] = []
    seen = torch.zeros(len(domain), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
        for part, count in zip(parts, counts, strict=True):
            whole = _mask_of(domain, torch.tensor(part))
            seen = seen | whole
            mask = ~whole
            for number in range(count):
                mask = _random_half(domain, part) if number % 2 == 0 or len(part) == 1 else whole & ~mask
                couplings.append(
                    SplineCoupling(
                        domain,
                        mask,
                        bins=bins,
                        conditioner=conditioner,
                        bound=bound,
                        location=location,
                        width=width,
                        seam=low + (high - low) * torch.rand(len(circles)),
                        context_size=context_size,
                        given=seen & ~mask,
                        harmonics=harmonics,
                        affine=narrow if number < affine else (),
                    )
                )
    return Flow(Independent(domain, location, width) if base is None else base, Chain(couplings))


def _random_half(domain: Domain, part: list[int]) -> Tensor:
    """A mask (D,) of every second of some coordinates, in random order."""
    circles = [i for i in domain.indices("circle") if i in part]
    others = [i for i in part if i not in circles]
    # Circles come last, so that the halves have equal size whenever the number of circles is even.
    deal = [torch.tensor(kind)[torch.randperm(len(kind))].long() for kind in (others, circles)]
    return _mask_of(domain, torch.cat(deal)[::2])


def _mask_of(domain: Domain, indices: Tensor) -> Tensor:
    mask = torch.zeros(len(domain), dtype=torch.bool)
    mask[indices] = True
    return mask


def _conditioner(net: str, hidden: tuple[int, ...]) -> Callable[[int], nn.Module]:
    if net == "mlp":
        return partial(MLP, hidden=hidden)
    if net == "residual" and len(set(hidden)) == 1:
        return partial(ResidualNet, width=hidden[0], blocks=len(hidden))
    raise OptionError(f"Expected net 'mlp', or 'residual' with equal hidden sizes; got {net!r} with {hidden}.")


def autoregressive_spline_flow(
    domain: Domain,
    *,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    passes: int | None = None,
    location: Tensor | None = None,
    width: Tensor | None = None,
    bound: float = 5.0,
    context_size: int = 0,
    seed: int = 0,
) -> Flow:
    """An autoregressive neural spline flow on a mixed domain (Durkan et al. 2019, arXiv 1906.04032).

    The density takes one pass, samples take `passes` short steps for each layer. Every other layer uses the reverse
    order of coordinates; each cuts the circles open at another place. Initially the identity.

    Args:
        domain: flat.
        layers: number of autoregressive layers.
        hidden, passes: as in `layers.Autoregressive`.
        bins, location, width, bound: as in `spline_flow`.
        context_size: size of the context; 0 for an unconditional flow.
        seed: the random seed of the weights and seams; the global random state is not changed.

    >>> autoregressive_spline_flow(Domain.circle(3), layers=2, hidden=(8,)).domain.names
    ('x0', 'x1', 'x2')
    """
    circles = domain[domain.indices("circle")]
    low, high = circles.lows(torch.empty(0)), circles.highs(torch.empty(0))

    def transformer() -> Transformer:
        seam = low + (high - low) * torch.rand(len(circles))
        return RationalQuadratic(domain, bins=bins, bound=bound, location=location, width=width, seam=seam)

    make = partial(Autoregressive, location=location, width=width)
    return Flow(
        Independent(domain, location, width),
        _autoregressive_chain(make, transformer, layers, hidden, passes, context_size, seed),
    )


def maf(
    domain: Domain,
    *,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    scale: Scale = "tanh",
    passes: int | None = None,
    context_size: int = 0,
    seed: int = 0,
) -> Flow:
    """A masked autoregressive flow (Papamakarios et al. 2017, arXiv 1705.07057) on real lines, from a normal base.

    Args:
        domain: flat, of real coordinates.
        layers, hidden, passes, context_size, seed: as in `autoregressive_spline_flow`.
        scale: see `transformers.Affine`; the default is bounded, which makes the flow robust to outliers in the data.
            Older state dicts, from when "exp" was the default, are still loaded with "exp".

    Raises:
        DomainError: if a coordinate is not real.

    >>> maf(Domain.real(3), layers=2, hidden=(8,)).log_prob(torch.zeros(1, 3))
    tensor([-2.7568], grad_fn=<WhereBackward0>)
    """
    _require_real(domain, "maf")
    chain = _autoregressive_chain(
        Autoregressive, partial(Affine, domain, scale), layers, hidden, passes, context_size, seed
    )
    return Flow(Independent(domain), chain)


def realnvp(
    domain: Domain,
    *,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    scale: Scale = "tanh",
    context_size: int = 0,
    seed: int = 0,
) -> Flow:
    """RealNVP: affine couplings of alternating halves (Dinh et al. 2016, arXiv 1605.08803), from a normal base.

    With ``scale="additive"`` it is NICE (Dinh et al. 2014, arXiv 1410.8516), with a learned final scaling layer.

    Args:
        domain: flat, of at least two real coordinates.
        layers: number of couplings.
        hidden: sizes of the hidden layers of each conditioner.
        scale: see `transformers.Affine`; the default is bounded, which makes the flow robust to outliers in the data.
            Older state dicts, from when "exp" was the default, are still loaded with "exp".
        context_size: size of the context; 0 for an unconditional flow.
        seed: the random seed of the weights; the global random state is not changed.

    Raises:
        DomainError: if a coordinate is not real, or there are fewer than two.

    >>> x, log_q = realnvp(Domain.real(2), layers=2, hidden=(8,)).sample(5)
    """
    if len(domain) < 2:
        raise DomainError(f"realnvp: expected a domain of at least 2 coordinates; got {domain}.")
    _require_real(domain, "realnvp")
    mask = alternating_mask(len(domain))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        chain: list[Layer] = [
            AffineCoupling(
                domain,
                mask if number % 2 == 0 else ~mask,
                scale=scale,
                conditioner=partial(MLP, hidden=hidden),
                context_size=context_size,
            )
            for number in range(layers)
        ]
    if scale == "additive":
        chain.append(ElementwiseAffine(domain, context_size=context_size))
    return Flow(Independent(domain), Chain(chain))


def _require_real(domain: Domain, where: str) -> None:
    """Raise a DomainError for circles: an affine map only shifts them, and a shifted uniform base is unchanged."""
    if found := [c for c in domain if c.kind != "real"]:
        raise DomainError(f"{where}: expected real coordinates; got {found[0]}. See spline_flow for other kinds.")


def _autoregressive_chain(
    make: Callable[..., Autoregressive],
    transformer: Callable[[], Transformer],
    layers: int,
    hidden: Sequence[int],
    passes: int | None,
    context_size: int,
    seed: int,
) -> Chain:
    chain = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for number in range(layers):
            one = transformer()
            order = range(len(one.domain))[:: 1 if number % 2 == 0 else -1]
            chain.append(make(one, hidden=hidden, order=order, passes=passes, context_size=context_size))
    return Chain(chain)
