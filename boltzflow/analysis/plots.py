"""Plots for a talk or a paper: labelled, with units, colours that the colour-blind tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from boltzflow.analysis.free_energy import FreeEnergyProfile, FreeEnergySurface
from boltzflow.analysis.observables import Torsion
from boltzflow.analysis.weights import ess_by_size
from boltzflow.ensemble import Ensemble
from boltzflow.units import thermal_energy

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8C8C8C"  # Okabe & Ito's palette
HIGHEST = 10.0  # kT: higher free energies are drawn in one colour
LIGHTEST = -8.0  # log10 of a weight over the mean: lighter ones, such as clashes, are drawn as one

_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "savefig.dpi": 200,
}


@contextmanager
def _figure(path: Path, size: tuple[float, float], title: str) -> Iterator[Figure]:
    """A figure in the common style, written when the block ends; matplotlib's global state stays as it is."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.suptitle(title, fontsize=12)
        figure.savefig(path, bbox_inches="tight")


def ramachandran(surfaces: Sequence[FreeEnergySurface], residues: Sequence[str], title: str, path: Path) -> None:
    """φ/ψ free-energy surfaces, one panel a residue, with a scale in kT and in kJ/mol."""
    columns = min(3, len(surfaces))
    rows = math.ceil(len(surfaces) / columns)
    with _figure(path, (4.1 * columns + 1.4, 4.0 * rows + 0.3), title) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
        for panel in panels[len(surfaces) :]:
            panel.set_visible(False)
        for panel, surface, residue in zip(panels, surfaces, residues, strict=False):
            values = np.ma.masked_invalid(surface.values.T)
            edges = np.degrees(surface.x.edges), np.degrees(surface.y.edges)
            mesh = panel.pcolormesh(*edges, values, cmap="viridis", vmin=0, vmax=HIGHEST, rasterized=True)
            panel.spines[["top", "right"]].set_visible(True)
            _degrees(panel, "x")
            _degrees(panel, "y")
            panel.set(xlabel="φ (°)", title=residue if len(surfaces) > 1 else "", aspect="equal")
        for row in range(rows):
            panels[row * columns].set_ylabel("ψ (°)")
        bar = figure.colorbar(mesh, ax=list(panels), extend="max", shrink=0.9, pad=0.03)
        bar.set_label("free energy (kT)")
        kt = thermal_energy(surfaces[0].temperature)
        second = bar.ax.secondary_yaxis(-0.35, functions=(partial(np.multiply, kt), partial(np.multiply, 1 / kt)))
        second.set_ylabel("free energy (kJ/mol)")


def profiles(
    curves: Sequence[FreeEnergyProfile],
    torsions: Sequence[Torsion],
    region: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Free energies along φ and ψ with bands of two standard errors; `region` of φ (rad) is shaded."""
    rows = len(curves) // 2
    with _figure(path, (8.6, 3.0 * rows + 0.5), title) as figure:
        panels = figure.subplots(rows, 2, squeeze=False, sharey=True, gridspec_kw={"wspace": 0.08})
        for panel, curve, torsion in zip(panels.flat, curves, torsions, strict=True):
            x = np.degrees(curve.centers)
            values, errors = curve.kj_per_mol
            values = np.where(np.isfinite(values), values, np.nan)
            if torsion.kind == "phi":
                panel.axvspan(
                    *np.degrees(region),
                    color=GREY,
                    alpha=0.15,
                    linewidth=0,
                    label=f"{region[0]:g} < φ < {region[1]:g} rad",
                )
            panel.fill_between(
                x, values - 2 * errors, values + 2 * errors, color=BLUE, alpha=0.3, linewidth=0, label="± 2 SE"
            )
            panel.plot(x, values, color=BLUE, linewidth=1.6)
            symbol = "φ" if torsion.kind == "phi" else "ψ"
            panel.set_xlabel(f"{symbol} of {torsion.residue} (°)")
            _degrees(panel, "x")
            panel.set_ylim(bottom=-0.5)
        for panel in panels[:, 0]:
            panel.set_ylabel("free energy (kJ/mol)")
        panels[0, 0].legend(loc="upper left", fontsize=9)


def weights(ensemble: Ensemble, title: str, path: Path) -> None:
    """How the weights are spread and depend on the energy, whether the ESS falls with n, how few carry the weight."""
    used = ensemble.log_weights > -np.inf
    relative = (ensemble.log_weights[used] - ensemble.log_z.value) / math.log(10)
    with _figure(path, (8.6, 7.0), title) as figure:
        (left, right), (sizes, cumulated) = figure.subplots(2, 2)
        left.hist(relative.clip(min=LIGHTEST), bins=80, color=BLUE, alpha=0.85)
        left.axvline(0, color=ORANGE, linewidth=1.4, label="mean weight")
        left.legend(loc="upper right", fontsize=9)
        left.set(xlabel="log$_{10}$ weight / mean weight", ylabel="samples", yscale="log")
        if (relative < LIGHTEST).any():
            left.set_title(f"lighter ones are counted at {LIGHTEST:g}", fontsize=9)
        text = f"ESS {ensemble.ess:.1%}\n{len(ensemble):,} samples\n{ensemble.failed:,} failed"
        left.text(0.03, 0.97, text, transform=left.transAxes, va="top", fontsize=9)
        energies = ensemble.energies[used]
        low, high = np.percentile(energies, [0.05, 99.95])
        inside = (energies >= low) & (energies <= high)
        hexes = right.hexbin(
            energies[inside], relative[inside], gridsize=60, bins="log", cmap="viridis", mincnt=1, linewidths=0.1
        )
        right.axhline(0, color=ORANGE, linewidth=1.4)
        right.set(xlabel="potential energy (kJ/mol)", ylabel="log$_{10}$ weight / mean weight")
        figure.colorbar(hexes, ax=right, label="samples")
        n, ess = zip(*ess_by_size(ensemble.log_weights), strict=True)
        sizes.plot(n, 100 * np.array(ess), "o-", color=BLUE, markersize=4, linewidth=1.4)
        sizes.axhline(100 * ensemble.ess, color=GREY, linewidth=0.8, linestyle=":")
        sizes.set(xlabel="samples n", ylabel="ESS of parts of n samples (%)", xscale="log", ylim=(0, None))
        heaviest = np.sort(ensemble.weights)[::-1]
        share = np.arange(1, len(heaviest) + 1) / len(heaviest)
        cumulated.plot(100 * share, 100 * heaviest.cumsum(), color=BLUE, linewidth=1.6, label="these samples")
        cumulated.plot(100 * share, 100 * share, color=GREY, linewidth=0.8, linestyle=":", label="equal weights")
        cumulated.legend(loc="upper left", fontsize=9, title=f"heaviest sample: {heaviest[0]:.2%}", title_fontsize=9)
        cumulated.set(
            xlabel="heaviest samples (%)", ylabel="share of the weight (%)", xscale="log", xlim=(100 * share[0], 100)
        )


def energies(ensemble: Ensemble, title: str, path: Path) -> None:
    """The potential energies of the samples as drawn, and reweighted to the Boltzmann distribution."""
    used = np.isfinite(ensemble.energies)
    values, shares = ensemble.energies[used], ensemble.weights[used]
    low, high = np.percentile(values, [0.02, 99.5])
    edges = np.linspace(low, high, 90).tolist()
    with _figure(path, (5.6, 3.8), title) as figure:
        panel = figure.subplots()
        panel.hist(values, edges, density=True, color=GREY, alpha=0.45, label="as drawn")
        panel.hist(
            values, edges, weights=shares, density=True, histtype="step", color=BLUE, linewidth=1.8, label="reweighted"
        )
        panel.set(xlabel="potential energy (kJ/mol)", ylabel="probability density (mol/kJ)", xlim=(low, high))
        panel.legend()


def _degrees(panel: Axes, name: Literal["x", "y"]) -> None:
    axis = panel.xaxis if name == "x" else panel.yaxis
    axis.set_major_locator(MultipleLocator(90))
    axis.set_minor_locator(MultipleLocator(30))
    panel.set(**{f"{name}lim": (-180, 180)})
