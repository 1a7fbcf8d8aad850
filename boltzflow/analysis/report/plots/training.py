"""The course of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boltzflow.analysis.report.plots.style import BLUE, GREY, ORANGE, figure
from boltzflow.storage import reading

_BLOCKS = 60  # blocks of records, whose medians are drawn as a line

_PANELS = (("loss", "loss (kT)"), ("ess", "ESS of the step's batch"), ("temperature_K", "temperature (K)"))


def training(metrics: Path, title: str, path: Path) -> None:
    """Loss, effective sample size (ESS, a fraction) and temperature by step, from a run's metrics.csv.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: if it is damaged.
    """
    with reading(metrics, "Cannot read {}"):
        records = np.atleast_1d(np.genfromtxt(metrics, delimiter=",", names=True, encoding="utf-8"))
        steps, columns = records["step"], [records[name] for name, _ in _PANELS]
    blocks = np.array_split(np.arange(len(steps)), min(_BLOCKS, len(steps)))
    with figure(path, (12.0, 3.3), title) as drawing:
        panels = drawing.subplots(1, len(_PANELS))
        for panel, values, (name, label) in zip(panels, columns, _PANELS, strict=True):
            if name == "temperature_K":
                panel.plot(steps, values, color=ORANGE, linewidth=1.6)
            else:
                panel.plot(steps, values, ".", color=GREY, markersize=2, alpha=0.5, label="each record")
                middle = [np.median(values[block]) for block in blocks]
                panel.plot([steps[block].mean() for block in blocks], middle, color=BLUE, linewidth=1.6, label="median")
            panel.set(xlabel="step", ylabel=label)
        low, high = np.nanpercentile(columns[0], [0.0, 95.0])  # the first steps' clashes would hide the rest
        panels[0].set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.1 * (high - low + 1e-9))
        panels[1].set_ylim(0, 1)
        panels[0].legend(loc="upper right", fontsize=9)
