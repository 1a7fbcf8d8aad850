"""The course of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boltzflow.analysis.report.plots.style import BLUE, GREY, ORANGE, figure, legend_below
from boltzflow.arrays import Array
from boltzflow.storage import reading

_BLOCKS = 60  # blocks of records, whose medians are drawn as a line

_WINDOW, _JUMP = 5, 20.0  # records, and their spreads by which a loss changes where another loss begins

_PANELS = (("loss", "loss (kT)"), ("ess", "ESS of the step's batch"), ("temperature_K", "temperature (K)"))


def training(metrics: Path, title: str, path: Path) -> None:
    """Loss, effective sample size (ESS, a fraction) and temperature by step, from a run's metrics.csv.

    The losses of two phases of a method differ by a constant: each is drawn relative to its last values.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: if it is damaged.
    """
    with reading(metrics, "Cannot read {}"):
        records = np.atleast_1d(np.genfromtxt(metrics, delimiter=",", names=True, encoding="utf-8"))
        steps, columns = records["step"], [records[name] for name, _ in _PANELS]
    blocks = np.array_split(np.arange(len(steps)), min(_BLOCKS, len(steps)))
    begins = _other_losses(columns[0])
    for phase in np.split(np.arange(len(steps)), begins) if len(begins) else ():
        columns[0][phase] -= np.median(columns[0][phase[-_WINDOW:]])
    with figure(path, (12.0, 3.6), title) as drawing:
        panels = drawing.subplots(1, len(_PANELS))
        for panel, values, (name, label) in zip(panels, columns, _PANELS, strict=True):
            if name == "temperature_K":
                panel.plot(steps, values, color=ORANGE, linewidth=1.6)
            else:
                panel.plot(steps, values, ".", color=GREY, markersize=2, alpha=0.5, label="each record")
                middle = [np.median(values[block]) for block in blocks]
                panel.plot([steps[block].mean() for block in blocks], middle, color=BLUE, linewidth=1.6, label="median")
            if name == "loss" and len(begins):
                label = "loss − its last value (kT)"
                for i, record in enumerate(begins):
                    panel.axvline(steps[record], color=ORANGE, linewidth=1.0, label="" if i else "another loss begins")
            panel.set(xlabel="step", ylabel=label)
        low, high = np.nanpercentile(columns[0], [0.0, 95.0])  # the first steps' clashes would hide the rest
        panels[0].set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.1 * (high - low + 1e-9))
        panels[1].set_ylim(0, 1)
        legend_below(drawing, panels[0])


def _other_losses(losses: Array) -> NDArray[np.int64]:
    """The records at which another loss begins: their neighbours on both sides differ by far more than they scatter."""
    if len(losses) < 2 * _WINDOW:
        return np.array([], dtype=np.int64)
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(losses, _WINDOW), axis=1)
    middle, spread = windows[:, _WINDOW // 2], windows[:, -2] - windows[:, 1]
    before, after = slice(None, -_WINDOW), slice(_WINDOW, None)
    change = np.abs(middle[after] - middle[before])
    scatter = spread[before] + spread[after] + 1e-6 * np.abs(middle[before])
    jumps = np.flatnonzero(change > _JUMP * scatter) + _WINDOW
    # Several neighbouring records see one jump; the step itself is where the loss changes most.
    runs = np.split(jumps, np.flatnonzero(np.diff(jumps) > 1) + 1) if len(jumps) else []
    steepest = [int(run[np.abs(losses[run] - losses[run - 1]).argmax()]) for run in runs]
    return np.array(steepest, dtype=np.int64)
