"""Ready-made flows from a Domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Independent
from boltzflow.core.domain import Domain
from boltzflow.core.flow import Flow
from boltzflow.core.layer import Chain
from boltzflow.core.layers import SplineCoupling
from boltzflow.core.nets import MLP, ResidualNet
from boltzflow.core.recipes_image import glow
from boltzflow.errors import OptionError

__all__ = ["glow", "spline_flow"]


def spline_flow(
    domain: Domain,
    *,
    layers: int = 12,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    net: str = "mlp",
    location: Tensor | None = None,
    width: Tensor | None = None,
    bound: float = 5.0,
    context_size: int = 0,
    seed: int = 0,
) -> Flow:
    """A neural spline flow on a mixed domain (Durkan et al. 2019; Rezende et al. 2020).

    Couplings come in pairs: a random half of the coordinates (half of the circles, half of the others) given
    the rest, then the rest given that half. Each coupling cuts the circles open at another place. The flow
    starts as the identity, so that its first samples are those of the base.

    Args:
        domain: flat, of at least two coordinates.
        layers: number of couplings.
        hidden: sizes of the hidden layers of each conditioner.
        bins: number of bins of each spline.
        net: ``"mlp"``, or ``"residual"`` (then all sizes in `hidden` are equal, each one a block).
        location, width: (D,) or None: the informed start (see `Independent` and `SplineCoupling`).
        bound: real coordinates are transformed within location ± bound·width.
        context_size: size of the context; 0 for an unconditional flow.
        seed: of masks, seams and weights; the global random state is left as it was.

    Raises:
        OptionError: if the net is unknown or the domain has fewer than two coordinates.

    >>> spline_flow(Domain.real(1) + Domain.circle(1), layers=2).domain.names
    ('x0', 'x1')
    """
    if len(domain) < 2:
        raise OptionError(f"spline_flow: expected a domain of at least 2 coordinates; got {domain}.")
    trunk = _trunk(net, tuple(hidden))
    circles = domain.indices("circle")
    others = [i for i in range(len(domain)) if i not in circles]
    couplings: list[SplineCoupling] = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
        for number in range(layers):
            if number % 2 == 0:
                # Circles are dealt last, so that the halves have equal size whenever D is even.
                deal = torch.cat(
                    [
                        torch.tensor(others)[torch.randperm(len(others))].long(),
                        torch.tensor(circles)[torch.randperm(len(circles))].long(),
                    ]
                )
                mask = torch.zeros(len(domain), dtype=torch.bool)
                mask[deal[::2]] = True
            else:
                mask = ~mask
            low, high = (domain[circles].lows(torch.empty(0)), domain[circles].highs(torch.empty(0)))
            couplings.append(
                SplineCoupling(
                    domain,
                    mask.tolist(),
                    bins=bins,
                    trunk=trunk,
                    bound=bound,
                    location=location,
                    width=width,
                    seam=low + (high - low) * torch.rand(len(circles)),
                    context_size=context_size,
                )
            )
    return Flow(Independent(domain, location, width), Chain(couplings))


def _trunk(net: str, hidden: tuple[int, ...]) -> Callable[[int], nn.Module]:
    if net == "mlp":
        return partial(MLP, hidden=hidden)
    if net == "residual" and len(set(hidden)) == 1:
        return partial(ResidualNet, width=hidden[0], blocks=len(hidden))
    raise OptionError(f"Expected net 'mlp', or 'residual' with equal hidden sizes; got {net!r} with {hidden}.")
