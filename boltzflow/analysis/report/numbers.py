"""Readable numbers."""

from __future__ import annotations

import math


def told(value: float | None, form: str) -> str:
    """A number in a format such as ".2f"; "not determined" if it is None, infinite or NaN.

    >>> told(1.25, ".1f"), told(math.inf, ".1f"), told(None, ".1f")
    ('1.2', 'not determined', 'not determined')
    """
    return "not determined" if value is None or not math.isfinite(value) else format(value, form)
