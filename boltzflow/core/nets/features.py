"""What a net is shown of a state on a mixed domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain


class DomainFeatures(nn.Module):
    """Smooth features of a state: straight coordinates on a scale of order one, cos and sin of circles.

    Without `location` and `width` these are `Domain.features`; with them a straight coordinate is shown as
    (x − location)/width, so that a narrow peak in a wide interval is resolved.

    Args:
        domain: flat, of D coordinates.
        location, width: (D,) or None; a width that is infinite keeps the domain's own scale.
        visible: (D,) bool or None: coordinates that may be seen; the features of the others are 0. The number
            of features does not depend on it, so that all couplings of a flow share one compiled shape.

    Shapes:
        x (batch, D) → (batch, `Domain.feature_size`).

    >>> DomainFeatures(Domain.real(1) + Domain.circle(1))(torch.zeros(2, 2)).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    straight: Tensor
    circles: Tensor
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
        # Python numbers, so that the features have all the digits of whatever dtype x comes in.
        scale, shift = (t.tolist() for t in domain.standard_map(torch.empty(0, dtype=torch.float64)))
        if location is not None and width is not None:
            for i in straight:
                if math.isfinite(sigma := float(width[i])):
                    scale[i], shift[i] = 1.0 / sigma, -float(location[i]) / sigma
        self.scale, self.shift = scale, shift
        self.size = domain.feature_size
        self.register_buffer("straight", torch.tensor(straight, dtype=torch.long), persistent=False)
        self.register_buffer("circles", torch.tensor(circles, dtype=torch.long), persistent=False)
        seen = torch.ones(len(domain), dtype=torch.bool) if visible is None else visible
        self.register_buffer("seen", torch.cat([seen[straight], seen[circles], seen[circles]]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        standard = x * x.new_tensor(self.scale) + x.new_tensor(self.shift)
        angle = standard.index_select(-1, self.circles) * math.pi
        features = torch.cat([standard.index_select(-1, self.straight), angle.cos(), angle.sin()], -1)
        return features * self.seen
