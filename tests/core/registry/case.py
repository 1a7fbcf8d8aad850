"""What the registry says of one bijection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boltzflow.core import Bijection


@dataclass(frozen=True)
class Case:
    """How to make a part, and what its checks need to know.

    Attributes:
        make: builds it, freshly initialised.
        context_size: size of the context that it takes; 0 for none.
        tolerance: of float64 checks, relative to max(1, |value|); None for the common one. For parts whose
            inverse is found by iteration to a stated accuracy.
        compiles: whether both directions compile without graph breaks.
    """

    make: Callable[[], Bijection]
    context_size: int = 0
    tolerance: float | None = None
    compiles: bool = True
