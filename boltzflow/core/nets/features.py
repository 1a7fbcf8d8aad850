"""Input features of nets for states on a mixed domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional import permute_rows
from boltzflow.errors import OptionError


class DomainFeatures(nn.Module):
    """Smooth features of a state: real and interval coordinates scaled to order one, cosines and sines of circles.

    Without `width` these are `Domain.features`. With `width`, the feature of a real or interval coordinate is
    (x − location)/width, so that a narrow peak in a wide interval is resolved.

    Args:
        domain: flat, of D coordinates.
        location, width: (D,) or None; an infinite width keeps the domain's own scale; the default location is 0, or the
            middle of an interval.
        visible: (D,) bool or None: coordinates that the net may depend on; the features of the others are 0. The number
            of features does not depend on it, so that all couplings of a flow share one compiled shape.
        harmonics: number of cosines and sines of each circle, of the angle and its multiples. A net learns functions
            with several narrow peaks, such as those of a torsion, much faster from more of them.

    Shapes:
        x (batch, D) → (batch, size), the number of straight coordinates and 2·harmonics for each circle.

    Raises:
        OptionError: if there is no harmonic.

    >>> DomainFeatures(Domain.real(1) + Domain.circle(1))(torch.zeros(2, 2)).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    order: Tensor
    back: Tensor
    seen: Tensor

    def __init__(
        self,
        domain: Domain,
        location: Tensor | None = None,
        width: Tensor | None = None,
        visible: Tensor | None = None,
        harmonics: int = 1,
    ) -> None:
        super().__init__()
        if harmonics < 1:
            raise OptionError(f"DomainFeatures: expected at least 1 harmonic of a circle; got {harmonics}.")
        straight = [i for i, c in enumerate(domain) if c.kind != "circle"]
        circles = list(domain.indices("circle"))
        scale, shift = domain.standard_map(torch.empty(0, dtype=torch.float64))
        if width is not None:
            location = domain.middle(width) if location is None else location
            narrow = width.double().isfinite()
            narrow[circles] = False
            scale = torch.where(narrow, 1.0 / width.double(), scale)
            shift = torch.where(narrow, -location.double() / width.double(), shift)
        self.constants = Constants(scale=scale, shift=shift)
        self.harmonics = harmonics
        self.size = len(straight) + 2 * harmonics * len(circles)
        self.register_buffer("order", torch.tensor(straight + circles, dtype=torch.long), persistent=False)
        self.register_buffer("back", self.order.argsort(), persistent=False)
        self.straight = len(straight)
        seen = torch.ones(len(domain), dtype=torch.bool) if visible is None else visible
        turns = [seen[circles]] * (2 * harmonics)
        self.register_buffer("seen", torch.cat([seen[straight], *turns]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        standard = x * self.constants.scale.to(x.dtype) + self.constants.shift.to(x.dtype)
        if self.straight == standard.shape[-1]:
            return standard * self.seen
        straight, turn = permute_rows(standard.T, self.order, self.back).tensor_split([self.straight])
        angle = turn * math.pi
        cos, sin = angle.cos(), angle.sin()
        features = [straight, cos, sin]
        for _ in range(1, self.harmonics):
            before_cos, before_sin = features[-2:]
            features += [before_cos * cos - before_sin * sin, before_sin * cos + before_cos * sin]
        return torch.cat(features).T * self.seen
