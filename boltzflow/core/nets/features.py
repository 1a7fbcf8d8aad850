"""Input features of nets for states on a mixed domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boltzflow.core.constants import Constants
from boltzflow.core.domain import Domain
from boltzflow.core.functional import permute_rows


class DomainFeatures(nn.Module):
    """Smooth features of a state: real and interval coordinates scaled to order one, cos and sin of circles.

    Without `width` these are `Domain.features`. With `width`, the feature of a real or interval coordinate is
    (x − location)/width, so that a narrow peak in a wide interval is resolved.

    Args:
        domain: flat, of D coordinates.
        location, width: (D,) or None; an infinite width keeps the domain's own scale; the default location is 0, or the
            middle of an interval.
        visible: (D,) bool or None: coordinates that the net may depend on; the features of the others are 0. The number
            of features does not depend on it, so that all couplings of a flow share one compiled shape.

    Shapes:
        x (batch, D) → (batch, `Domain.feature_size`).

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
    ) -> None:
        super().__init__()
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
        self.size = domain.feature_size
        self.register_buffer("order", torch.tensor(straight + circles, dtype=torch.long), persistent=False)
        self.register_buffer("back", self.order.argsort(), persistent=False)
        self.straight = len(straight)
        seen = torch.ones(len(domain), dtype=torch.bool) if visible is None else visible
        self.register_buffer("seen", torch.cat([seen[straight], seen[circles], seen[circles]]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        standard = x * self.constants.scale.to(x.dtype) + self.constants.shift.to(x.dtype)
        if self.straight == standard.shape[-1]:
            return standard * self.seen
        straight, turn = permute_rows(standard.T, self.order, self.back).tensor_split([self.straight])
        angle = turn * math.pi
        return torch.cat([straight, angle.cos(), angle.sin()]).T * self.seen
