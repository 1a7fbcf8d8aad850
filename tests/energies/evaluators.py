"""A harmonic evaluator that obeys its frames. Workers import this file, so it does without torch."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boltzflow.arrays import Array
from boltzflow.energies.workers import Answer

KILL, KILL_ONCE, SLEEP, FAIL, RAISE = 1001.0, 1002.0, 1003.0, 1004.0, 1005.0


@dataclass(frozen=True)
class Obedient:
    """Makes evaluators of U = Σ x²/2. `folder` holds a file for each order that has been carried out."""

    folder: Path
    refuses_to_start: bool = False

    def build(self) -> Obedient:
        if self.refuses_to_start:
            raise ValueError("no such force field")
        return self

    def __call__(self, frames: Array, forces: bool) -> Answer:
        energies = 0.5 * (frames**2).sum((1, 2))
        for i, order in enumerate(frames[:, 0, 0]):
            if order == KILL or (order == KILL_ONCE and not (self.folder / "killed").exists()):
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            elif order == SLEEP:
                time.sleep(0.2)
            elif order == FAIL:
                energies[i] = np.nan
            elif order == RAISE:
                raise ValueError("an unheard-of frame")
        return energies, -frames if forces else None
