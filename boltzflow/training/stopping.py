"""Detects when a training no longer improves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

from boltzflow.training.history import Record


def has_stopped_rising(records: Sequence[Record], window: int, temperature: float, after: int = 0) -> bool:
    """Whether the mean ESS of the last `window` records exceeds that of the `window` before by at most its error.

    False if one of these records has another temperature (K) or is not from after the step `after`.

    >>> from dataclasses import replace
    >>> one = Record(1, 300.0, 0.0, 0.5, 1.0, 1e-3, 0, 0, 0, 0.0)
    >>> flat, rising = ([replace(one, ess=0.5 + slope * i) for i in range(8)] for slope in (0.0, 0.05))
    >>> has_stopped_rising(flat, 4, 300.0), has_stopped_rising(rising, 4, 300.0)
    (True, False)
    """
    recent = records[-2 * window :]
    if len(recent) < 2 * window or recent[0].step <= after:
        return False
    if not all(math.isclose(record.temperature_K, temperature) for record in recent):
        return False
    before, now = ([record.ess for record in part] for part in (recent[:window], recent[window:]))
    error = math.sqrt((variance(before) + variance(now)) / window)
    return fmean(now) - fmean(before) <= error
