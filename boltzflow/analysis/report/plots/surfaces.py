"""Free energies over two torsions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from boltzflow.analysis.axes import Axis
from boltzflow.analysis.checks.comparison import Histograms
from boltzflow.analysis.estimates.profiles import FreeEnergySurface
from boltzflow.analysis.estimates.torus import TorusDensity
from boltzflow.analysis.report.plots.style import (
    HIGHEST,
    UNRESOLVED,
    figure,
    in_degrees,
    torsion_label,
    write_numbers,
)
from boltzflow.arrays import Array
from boltzflow.units import thermal_energy

_SHARPEST = 1.0  # kT


class SurfaceOf(NamedTuple):
    """The free energy over two torsions: in bins with errors, and smoothed for contours."""

    bins: FreeEnergySurface
    smooth: TorusDensity


def ramachandran(surfaces: Sequence[SurfaceOf], residues: Sequence[str], title: str, path: Path) -> None:
    """φ/ψ free-energy surfaces, one panel for each residue, with a scale in kT and in kJ/mol."""
    titles = [residue if len(surfaces) > 1 else "" for residue in residues]
    _surfaces(surfaces, [("φ (°)", "ψ (°)", text) for text in titles], title, path)
    _write(path, surfaces, [(f"phi {residue}", f"psi {residue}") for residue in residues])


def torsion_pairs(
    surfaces: Sequence[SurfaceOf],
    names: Sequence[tuple[str, str]],
    information: Sequence[float],
    title: str,
    path: Path,
) -> None:
    """Free-energy surfaces of pairs of torsions, with their names and mutual information (nats)."""
    labels = [
        (torsion_label(x), torsion_label(y), f"mutual information {found:.2g}")
        for (x, y), found in zip(names, information, strict=True)
    ]
    _surfaces(surfaces, labels, title, path)
    _write(path, surfaces, names)


def _surfaces(surfaces: Sequence[SurfaceOf], labels: Sequence[tuple[str, str, str]], title: str, path: Path) -> None:
    """One panel for each surface; labels: of the axes, and a title.

    Bins with errors above `UNRESOLVED` are hatched, bins without samples are white; contours of the smoothed surface,
    1 kT apart, are drawn where the kernel has at least four effective samples.
    """
    highest = max(np.where(one.bins.errors <= UNRESOLVED, one.bins.values, 0.0).max() for one in surfaces)
    scale = {"vmax": min(HIGHEST, max(2.0, math.ceil(highest)))}
    columns = min(3, len(surfaces))
    rows = math.ceil(len(surfaces) / columns)
    alike = len({label[1] for label in labels}) == 1
    with figure(path, (4.1 * columns + 1.4, 4.0 * rows + 0.3), title) as drawing:
        panels = list(drawing.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for panel in panels[len(surfaces) :]:
            panel.set_visible(False)
        for k, (panel, surface, (x, y, text)) in enumerate(zip(panels, surfaces, labels, strict=False)):
            bins, smooth = surface
            resolved = bins.errors <= UNRESOLVED
            mesh = _surface(panel, bins.x.edges, bins.y.edges, np.where(resolved, bins.values, np.nan), **scale)
            _hatch(panel, bins.x.edges, bins.y.edges, np.isfinite(bins.values) & ~resolved)
            heights = np.where(smooth.effective_samples >= 4.0, smooth.free_energies, np.nan)
            at = np.degrees(smooth.axis.centers)
            panel.contour(at, at, heights.T, range(1, round(HIGHEST)), colors="black", linewidths=0.5, alpha=0.6)
            panel.set(xlabel=f"{x}\ncontours: 1 kT, smoothed by {math.degrees(smooth.bandwidth):.0f}°")
            panel.set_title(text, fontsize=10)
            if k % columns == 0 or not alike:
                panel.set_ylabel(y)
        _scale(drawing, mesh, panels, surfaces[0].bins.temperature)


def _hatch(panel: Axes, x: Array, y: Array, cells: NDArray[np.bool_]) -> None:
    """Hatch bins (bins along x, bins along y) with edges in rad."""
    shown = np.ma.masked_where(~cells.T, np.ones(cells.T.shape))
    light = ListedColormap(["#F4F4F4"])
    panel.pcolor(np.degrees(x), np.degrees(y), shown, cmap=light, hatch="//////", edgecolor="#C8C8C8", linewidth=0.0)


def _write(path: Path, surfaces: Sequence[SurfaceOf], names: Sequence[tuple[str, str]]) -> None:
    """The numbers of all panels: one row for each bin, and for each point of the smoothed surface, without an error."""
    parts = []
    for (bins, smooth), pair in zip(surfaces, names, strict=True):
        parts.append(_columns("bin", pair, bins.x, bins.y, bins.values, bins.errors))
        nothing = np.full(smooth.values.shape, np.nan)
        parts.append(_columns("smoothed", pair, smooth.axis, smooth.axis, smooth.free_energies, nothing))
    heads = ("kind", "x", "y", "x_degrees", "y_degrees", "free_energy_kT", "standard_error_kT")
    write_numbers(path, dict(zip(heads, map(np.concatenate, zip(*parts, strict=True)), strict=True)))


def _columns(
    kind: str, names: tuple[str, str], x: Axis, y: Axis, values: Array, errors: Array
) -> tuple[NDArray[Any], ...]:
    texts = (np.full(values.size, text) for text in (kind, *names))
    centers = np.degrees(np.meshgrid(x.centers, y.centers, indexing="ij"))
    return *texts, *(numbers.ravel() for numbers in (*centers, values, errors))


def ramachandran_comparison(surfaces: Mapping[str, Histograms], temperature: float, title: str, path: Path) -> None:
    """The surfaces of samples and reference side by side, one row for each residue, and their difference.

    Bins with errors above `UNRESOLVED` are hatched. Those whose difference has an error above 1 kT are left grey in the
    third column.
    """
    rows = len(surfaces)
    with figure(path, (13.2, 3.9 * rows + 0.4), title) as drawing:
        panels = drawing.subplots(rows, 3, squeeze=False, sharex=True, sharey=True)
        for row, (residue, both) in zip(panels, surfaces.items(), strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                ours, theirs = -np.log(both.samples), -np.log(both.reference)
                relative = (both.samples_errors / both.samples, both.reference_errors / both.reference)
                difference = np.where(np.hypot(*relative) < _SHARPEST, ours - theirs, np.nan)
            least = min(np.nanmin(ours), np.nanmin(theirs))
            for panel, values, error in zip(row, (ours, theirs), relative, strict=False):
                resolved = error <= UNRESOLVED
                mesh = _surface(panel, both.edges, both.edges, np.where(resolved, values - least, np.nan))
                _hatch(panel, both.edges, both.edges, np.isfinite(values) & ~resolved)
            other = _surface(row[2], both.edges, both.edges, difference, cmap="PuOr", vmin=-1.5, vmax=1.5)
            for panel, what in zip(row, ("samples", "reference", "samples − reference"), strict=True):
                panel.set(title=f"{residue}, {what}" if rows > 1 else what)
            row[2].set_facecolor("#E6E6E6")
            row[0].set_ylabel("ψ (°)")
        for panel in panels[-1]:
            panel.set_xlabel("φ (°)")
        _scale(drawing, mesh, list(panels[:, :2].flat), temperature)
        bar = drawing.colorbar(other, ax=list(panels[:, 2]), extend="both", shrink=0.9, pad=0.03)
        bar.set_label("difference of free energies (kT)")


def _surface(panel: Axes, x: Array, y: Array, values: Array, **options: Any) -> QuadMesh:
    """Draw values (bins along x, bins along y) with edges in rad; values that are not finite stay white."""
    shown: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": HIGHEST} | options
    mesh = panel.pcolormesh(np.degrees(x), np.degrees(y), np.ma.masked_invalid(values.T), rasterized=True, **shown)
    panel.spines[["top", "right"]].set_visible(True)
    in_degrees(panel, "x")
    in_degrees(panel, "y")
    panel.set_aspect("equal")
    return mesh


def _scale(drawing: Figure, mesh: QuadMesh, panels: list[Axes], temperature: float) -> None:
    """A colour bar in kT and in kJ/mol."""
    bar = drawing.colorbar(mesh, ax=panels, extend="max", shrink=0.9, pad=0.03)
    bar.set_label("free energy (kT)")
    kt = thermal_energy(temperature)
    second = bar.ax.secondary_yaxis(-0.35, functions=(partial(np.multiply, kt), partial(np.multiply, 1 / kt)))
    second.set_ylabel("free energy (kJ/mol)")
