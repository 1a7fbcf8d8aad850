"""Maps unconstrained numbers to positive ones."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus


def unit_softplus(raw: Tensor, floor: float = 0.0) -> Tensor:
    """floor + log(1 + eʳ⁺ᶜ), with c such that r = 0 gives 1; it grows linearly in r and stays above the floor.

    Args:
        raw: any shape.
        floor: the lower bound, in [0, 1).

    >>> import torch
    >>> unit_softplus(torch.tensor([-100.0, 0.0]), floor=0.25)
    tensor([0.2500, 1.0000])
    """
    return floor + softplus(raw + math.log(math.expm1(1.0 - floor)))
