"""Free energies and densities along one observable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from boltzflow.analysis.checks.comparison import Comparison, Histograms
from boltzflow.analysis.estimates.profiles import FreeEnergyProfile
from boltzflow.analysis.estimates.rotamers import Rotamers
from boltzflow.analysis.report.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    UNRESOLVED,
    figure,
    in_degrees,
    legend_below,
    torsion_label,
    write_numbers,
)
from boltzflow.arrays import Array
from boltzflow.units import thermal_energy

_FEW, _FEW_COLUMNS, _COLUMNS = 8, 2, 4  # panels
_BETWEEN_STATES: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": ":"}
_MARGINALS, _DIFFERENT = 12, 3  # panels, and the least number of those for the most significant differences
_CLEAR = 4.0  # standard deviations of the noise


def profiles(
    curves: Sequence[FreeEnergyProfile],
    torsions: Sequence[Rotamers],
    region: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Free energies along torsions with bands of two standard errors.

    `region` of φ (rad) is shaded; dotted lines separate the states of the others. Lines break at bins with errors above
    `UNRESOLVED`, which are drawn as points.
    """
    columns = _FEW_COLUMNS if len(curves) <= _FEW else _COLUMNS
    rows = -(-len(curves) // columns)
    with figure(path, (4.3 * columns, 3.0 * rows + 0.5), title) as drawing:
        panels = drawing.subplots(rows, columns, squeeze=False, sharey=True, gridspec_kw={"wspace": 0.08})
        for panel in panels.flat[len(curves) :]:
            panel.set_visible(False)
        for panel, curve, found in zip(panels.flat, curves, torsions, strict=False):
            _profile(panel, curve, found, region)
        kt = thermal_energy(curves[0].temperature)
        # A single sample of tiny weight does not set the scale.
        highest = max(np.where(c.errors <= UNRESOLVED, c.values, 0.0).max() for c in curves)
        # Single bins lie below the smoothed minimum: by chance, or in a narrow well.
        lowest = min(-0.5, 1.1 * kt * min(c.values.min() for c in curves))
        panels[0, 0].set_ylim(lowest, kt * max(1.15 * highest, 1.0))
        for panel in panels[:, 0]:
            panel.set_ylabel("free energy (kJ/mol)")
        legend_below(drawing, panels[0, 0])
    names = np.repeat([found.torsion.name for found in torsions], [len(curve.centers) for curve in curves])
    numbers = [np.concatenate(column) for column in zip(*map(_numbers, curves), strict=True)]
    heads = ("degrees", "free_energy_kJ_mol", "standard_error_kJ_mol")
    write_numbers(path, {"torsion": names, **dict(zip(heads, numbers, strict=True))})


def _numbers(curve: FreeEnergyProfile) -> tuple[Array, Array, Array]:
    return np.degrees(curve.centers), *curve.kj_per_mol


def _profile(panel: Axes, curve: FreeEnergyProfile, found: Rotamers, region: tuple[float, float]) -> None:
    x = np.degrees(curve.centers)
    values, errors = curve.kj_per_mol
    values = np.where(np.isfinite(values), values, np.nan)
    if found.torsion.kind == "phi":
        label = f"{region[0]:g} < φ < {region[1]:g} rad"
        panel.axvspan(*np.degrees(region), color=GREY, alpha=0.15, linewidth=0, label=label)
    elif len(found.arcs.names) > 1:
        for turn in range(found.arcs.folds):
            for low in found.arcs.lows:
                panel.axvline(_wrapped(np.degrees(low + turn * found.arcs.period)), **_BETWEEN_STATES)
    resolved = curve.errors <= UNRESOLVED
    line = np.where(resolved, values, np.nan)
    panel.fill_between(x, line - 2 * errors, line + 2 * errors, color=BLUE, alpha=0.3, linewidth=0, label="± 2 SE")
    panel.plot(x, line, color=BLUE, linewidth=1.6)
    panel.plot(x[~resolved], values[~resolved], ".", color=GREY, markersize=3, label="fewer than 4 effective samples")
    panel.set_xlabel(torsion_label(found.torsion.name))
    in_degrees(panel, "x")


def _wrapped(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0


def marginals(comparison: Comparison, title: str, path: Path) -> None:
    """The energy, torsions about rotatable bonds, and the coordinates that differ most clearly.

    Bands are two standard errors.
    """
    named = _leading(comparison)
    named.sort(key=lambda m: not m.observable.name.startswith(("potential", "phi", "psi")))
    named = named[: _MARGINALS - _DIFFERENT]
    others = [m for m in comparison.marginals if m not in named]
    others.sort(key=lambda m: -comparison.of(m.observable.name).sigmas)
    chosen = [*named, *others[: _MARGINALS - len(named)]]
    rows = -(-len(chosen) // 3)
    with figure(path, (12.0, 2.75 * rows + 0.4), title) as drawing:
        panels = drawing.subplots(rows, 3, squeeze=False).flat
        for panel in panels[len(chosen) :]:
            panel.set_visible(False)
        for panel, both in zip(panels, chosen, strict=False):
            _marginal(panel, both)
            found = comparison.of(both.observable.name)
            told = f"W {found.value:.2g}, noise {found.floor:.2g} ± {found.noise:.1g} {found.unit}"
            panel.set_title(told, fontsize=9, color=ORANGE if found.sigmas > _CLEAR else "black")
        panels[0].legend(loc="upper right", fontsize=9)


def distances(comparison: Comparison, title: str, path: Path) -> None:
    """The Wasserstein distance of each marginal as a fraction of its width, with the band that noise alone causes."""
    found = [comparison.of(m.observable.name) for m in comparison.marginals]
    places = np.arange(len(found))
    value, floor, noise = np.array([(d.value, d.floor, d.noise) for d in found]).T / [d.width for d in found]
    clear = np.array([d.sigmas > _CLEAR for d in found])
    with figure(path, (10.5, 3.6), title) as drawing:
        panel = drawing.subplots()
        panel.bar(
            places,
            4 * noise,
            0.9,
            floor - 2 * noise,
            color=GREY,
            alpha=0.35,
            linewidth=0,
            label="noise alone ± 2 SD",
        )
        for which, colour, label in ((~clear, BLUE, "found"), (clear, ORANGE, f"more than {_CLEAR:g} SD above it")):
            if which.any():
                panel.plot(places[which], value[which], ".", color=colour, markersize=6, label=label)
        start = 0
        leading = ["U, rotatable"] * len(_leading(comparison))
        others = [f"{m.observable.kind}s" for m in comparison.marginals[len(leading) :]]
        for group, members in groupby([*leading, *others]):
            count = len(list(members))
            panel.axvline(start - 0.5, color="black", linewidth=0.5)
            middle = start + (count - 1) / 2
            panel.text(middle, 1.02, group, transform=panel.get_xaxis_transform(), ha="center", fontsize=10)
            start += count
        panel.set(xlim=(-0.8, len(found) - 0.2), ylabel="distance / width of the marginal", xlabel="observable")
        panel.set_ylim(0, 1.35 * max((floor + 2 * noise).max(), value.max()))
        panel.legend(loc="upper right", fontsize=9, ncols=3)


def _marginal(panel: Axes, both: Histograms) -> None:
    circular, unit = both.observable.kind == "torsion", both.observable.unit
    edges = np.degrees(both.edges) if unit == "rad" else both.edges
    widths = np.diff(edges)
    centers = edges[:-1] + widths / 2
    panel.stairs(both.reference / widths, edges, fill=True, color=GREY, alpha=0.4, label="reference")
    ours, error = both.samples / widths, 2 * both.samples_errors / widths
    panel.fill_between(centers, ours - error, ours + error, step="mid", color=BLUE, alpha=0.35, linewidth=0)
    panel.step(centers, ours, where="mid", color=BLUE, linewidth=1.3, label="samples ± 2 SE")
    panel.set(xlabel=_label(both), ylabel="density")
    panel.set_ylim(bottom=0)
    panel.yaxis.set_ticks([])
    panel.spines["left"].set_visible(False)
    if circular:
        in_degrees(panel, "x")
    else:
        panel.set_xlim(edges[0], edges[-1])


def _leading(comparison: Comparison) -> list[Histograms]:
    """The energy and the torsions about rotatable bonds, which come before the bonds."""
    return list(takewhile(lambda m: m.observable.kind in ("energy", "torsion"), comparison.marginals))


def _label(both: Histograms) -> str:
    """The observable and its unit; torsions and angles are drawn in degrees."""
    name, kind = both.observable.name, both.observable.kind
    if kind == "torsion":
        return torsion_label(name)
    return f"{name} ({'°' if kind == 'angle' else both.observable.unit})"
