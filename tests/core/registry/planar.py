"""Planar and radial layers, and continuous flows."""

from __future__ import annotations

from tests.core.registry.case import Case

BIJECTIONS: dict[str, Case] = {}
