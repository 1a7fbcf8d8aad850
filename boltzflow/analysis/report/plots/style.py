"""The common style of all figures: a colour-blind-safe palette, fonts, and PNG and PDF files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike

from boltzflow.analysis.report.symbols import with_symbols
from boltzflow.storage import replacing

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"  # Okabe & Ito's palette
UNRESOLVED = 0.5
"""kT: bins with a larger error rest on fewer than about four effective samples; no colour or line is drawn there."""

HIGHEST = 10.0
"""kT: higher free energies are drawn in a single colour."""

_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays editable
}


@contextmanager
def figure(path: Path, size: tuple[float, float], title: str) -> Iterator[Figure]:
    """A figure that is written as PNG and PDF when the block ends; matplotlib's global state does not change.

    Args:
        path: of the PNG.
        size: in inches.
        title: of the figure.
    """
    with matplotlib.rc_context(_STYLE):
        made = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(made)
        yield made
        made.suptitle(title, fontsize=12)
        for kind in (".png", ".pdf"):
            with replacing(path.with_suffix(kind)) as partial:
                made.savefig(partial, bbox_inches="tight")


def write_numbers(path: Path, columns: Mapping[str, ArrayLike]) -> None:
    """Write the numbers behind a figure as CSV, beside its PNG; columns have one length, texts or numbers."""
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    with replacing(path.with_suffix(".csv")) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def legend_below(drawing: Figure, panel: Axes) -> None:
    """The legend of a panel below the figure, where it hides nothing; each label once."""
    labelled = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    drawing.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=len(labelled), fontsize=9)


def in_degrees(panel: Axes, name: Literal["x", "y"]) -> None:
    """An axis from −180° to 180°."""
    axis = panel.xaxis if name == "x" else panel.yaxis
    axis.set_major_locator(MultipleLocator(90))
    axis.set_minor_locator(MultipleLocator(30))
    panel.set(**{f"{name}lim": (-180, 180)})


def torsion_label(name: str) -> str:
    """Such as "φ of ALA2 (°)" for "phi ALA2"."""
    kind, _, rest = name.partition(" ")
    return f"{with_symbols(kind)} {'' if kind == 'torsion' else 'of '}{rest} (°)"
