"""Linear, element-wise, normalisation and reshaping layers, and blocks for images."""

from __future__ import annotations

from tests.core.registry.case import Case

BIJECTIONS: dict[str, Case] = {}
