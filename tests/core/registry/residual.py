"""Residual layers."""

from __future__ import annotations

from tests.core.registry.case import Case

BIJECTIONS: dict[str, Case] = {}
