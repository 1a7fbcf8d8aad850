"""What the bounds of coordinates cut off, as a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from boltzflow.ensemble import Ensemble
from boltzflow.verdict import Trust, Verdict

_MUCH = 0.1  # of the equilibrium: log Z is then wrong by a tenth


def cut_off_verdict(ensemble: Ensemble) -> Iterator[Verdict]:
    """A verdict if bounds cut off more of the equilibrium than the error of log Z, or none.

    It is that much that log Z is too low by, and averages may be off by as much of what lies outside.
    """
    lost = sum(ensemble.cut_off.values())
    error = math.inf if np.isneginf(ensemble.log_weights).all() else ensemble.log_z.error
    if lost > error:
        name, most = max(ensemble.cut_off.items(), key=lambda item: item[1])
        where = f"the bounds of {name}" if most > 0.9 * lost else f"bounds, most of it those of {name},"
        reason = f"{where} cut off {lost:.2g} of the equilibrium, more than the error of log Z, {error:.2g}"
        yield Verdict(Trust.DO_NOT_USE if lost > _MUCH else Trust.WITH_CARE, reason)
