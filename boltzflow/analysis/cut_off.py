"""A verdict on the part of the equilibrium distribution that the bounds of coordinates cut off."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from boltzflow.ensemble import Ensemble
from boltzflow.verdict import Trust, Verdict

_MUCH = 0.1  # of the equilibrium distribution: log Z is then wrong by about 0.1


def cut_off_verdict(ensemble: Ensemble) -> Iterator[Verdict]:
    """Yields a verdict if the bounds cut off more of the equilibrium distribution than the error of log Z.

    log Z is too low by this amount, and averages lack the part that lies outside.
    """
    lost = sum(ensemble.cut_off.values())
    error = math.inf if np.isneginf(ensemble.log_weights).all() else ensemble.log_z.error
    if lost > error:
        name, most = max(ensemble.cut_off.items(), key=lambda item: item[1])
        where = f"the bounds of {name}" if most > 0.9 * lost else f"the coordinates' bounds, mainly those of {name},"
        reason = (
            f"{where} cut off a fraction {lost:.2g} of the equilibrium distribution, more than the error of log Z, "
            f"{error:.2g}"
        )
        yield Verdict(Trust.DO_NOT_USE if lost > _MUCH else Trust.WITH_CARE, reason)
