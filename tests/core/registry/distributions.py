"""Normalised densities with exact samples."""

from __future__ import annotations

from collections.abc import Callable

import torch

from boltzflow.core import Domain
from boltzflow.core.distributions import Distribution, Independent

DENSITIES: dict[str, Callable[[], Distribution]] = {
    "normal": lambda: Independent(Domain.real(2), torch.tensor([0.5, -1.0]), torch.tensor([0.7, 1.3])),
    "uniform": lambda: Independent(Domain.interval(-1.0, 2.0) + Domain.circle(1)),
    "truncated normal": lambda: Independent(Domain.interval(-1.0, 2.0), torch.tensor([1.5]), torch.tensor([0.8])),
    "narrow truncated normal": lambda: Independent(
        Domain.interval(0.0, 1.0), torch.tensor([0.4]), torch.tensor([0.01])
    ),
    "von Mises": lambda: Independent(Domain.circle(1, 0.0, 5.0), torch.tensor([4.0]), torch.tensor([0.6])),
    "wide von Mises": lambda: Independent(Domain.circle(1), torch.tensor([1.0]), torch.tensor([40.0])),
    "mixed": lambda: Independent(
        Domain.real(1) + Domain.circle(1) + Domain.interval(0.0, 1.0),
        torch.tensor([0.0, 2.0, 0.2]),
        torch.tensor([1.0, 1.0, 0.3]),
    ),
}
