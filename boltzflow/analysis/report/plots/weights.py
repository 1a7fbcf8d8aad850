"""Distributions of weights and energies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from boltzflow.analysis.report.plots.style import BLUE, GREY, ORANGE, figure
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.trust import ess_by_size

LIGHTEST = -8.0
"""log10 of weight / mean weight: smaller weights, such as those of clashes, are drawn at this value."""


def weights(ensemble: Ensemble, title: str, path: Path) -> None:
    """The distribution of weights, their dependence on the energy, the ESS against n, and the cumulative weight."""
    used = ensemble.log_weights > -np.inf
    relative = (ensemble.log_weights[used] - ensemble.log_z.value) / math.log(10)
    with figure(path, (8.6, 7.0), title) as drawing:
        (left, right), (sizes, cumulated) = drawing.subplots(2, 2)
        left.hist(relative.clip(min=LIGHTEST), bins=80, color=BLUE, alpha=0.85)
        left.axvline(0, color=ORANGE, linewidth=1.4, label="mean weight")
        left.legend(loc="upper right", fontsize=9)
        left.set(xlabel="log$_{10}$ weight / mean weight", ylabel="samples", yscale="log")
        if (relative < LIGHTEST).any():
            left.set_title(f"smaller weights are counted at {LIGHTEST:g}", fontsize=9)
        text = f"ESS {ensemble.ess:.1%}\n{len(ensemble):,} samples\n{ensemble.failed:,} failed"
        left.text(0.03, 0.97, text, transform=left.transAxes, va="top", fontsize=9)
        if ensemble.has_energies:
            energies = ensemble.energies[used]
            low, high = _range(energies, 0.05, 99.95)
            inside = (energies >= low) & (energies <= high)
            hexes = right.hexbin(
                energies[inside], relative[inside], gridsize=60, bins="log", cmap="viridis", mincnt=1, linewidths=0.1
            )
            right.axhline(0, color=ORANGE, linewidth=1.4)
            right.set(xlabel="potential energy (kJ/mol)", ylabel="log$_{10}$ weight / mean weight")
            drawing.colorbar(hexes, ax=right, label="samples")
        else:
            right.set_axis_off()
        n, ess = zip(*ess_by_size(ensemble.log_weights), strict=True)
        sizes.plot(n, 100 * np.array(ess), "o-", color=BLUE, markersize=4, linewidth=1.4)
        sizes.axhline(100 * ensemble.ess, color=GREY, linewidth=0.8, linestyle=":")
        sizes.margins(x=0.08)
        sizes.set(xlabel="samples n", ylabel="ESS of parts of n samples (%)", xscale="log", ylim=(0, 112 * max(ess)))
        heaviest = np.sort(ensemble.weights)[::-1]
        share = np.arange(1, len(heaviest) + 1) / len(heaviest)
        cumulated.plot(100 * share, 100 * heaviest.cumsum(), color=BLUE, linewidth=1.6, label="these samples")
        cumulated.plot(100 * share, 100 * share, color=GREY, linewidth=0.8, linestyle=":", label="equal weights")
        cumulated.legend(loc="upper left", fontsize=9, title=f"largest weight: {heaviest[0]:.2%}", title_fontsize=9)
        cumulated.set(
            xlabel="samples of largest weight (%)",
            ylabel="fraction of the weight (%)",
            xscale="log",
            xlim=(min(100 * share[0], 50), 100),
        )


def energies(ensemble: Ensemble, title: str, path: Path) -> None:
    """The potential energies of the samples as generated, and reweighted to the Boltzmann distribution."""
    used = np.isfinite(ensemble.energies)
    values, shares = ensemble.energies[used], ensemble.weights[used]
    low, high = _range(values, 0.02, 99.5)
    # A dominant sample may lie outside the percentiles.
    low, high = min(low, values[shares.argmax()]), max(high, values[shares.argmax()])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 90).tolist()
    with figure(path, (5.6, 3.8), title) as drawing:
        panel = drawing.subplots()
        panel.hist(values, edges, density=True, color=GREY, alpha=0.45, label="as sampled")
        panel.hist(
            values, edges, weights=shares, density=True, histtype="step", color=BLUE, linewidth=1.8, label="reweighted"
        )
        panel.set(xlabel="potential energy (kJ/mol)", ylabel="probability density (mol/kJ)", xlim=(low, high))
        panel.legend(loc="upper right")


def _range(values: Array, low: float, high: float) -> tuple[float, float]:
    """The range between two percentiles; with few values it includes all of them."""
    return float(np.percentile(values, low, method="lower")), float(np.percentile(values, high, method="higher"))
