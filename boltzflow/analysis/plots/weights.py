"""How weights and energies are spread."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from boltzflow.analysis.plots.style import BLUE, GREY, ORANGE, figure
from boltzflow.ensemble import Ensemble

LIGHTEST = -8.0
"""log10 of a weight over the mean: lighter ones, such as clashes, are drawn as one."""


def weights(ensemble: Ensemble, title: str, path: Path) -> None:
    """How the weights are spread, and whether they depend on the energy."""
    used = ensemble.log_weights > -np.inf
    relative = (ensemble.log_weights[used] - ensemble.log_z.value) / math.log(10)
    with figure(path, (8.6, 3.6), title) as drawing:
        left, right = drawing.subplots(1, 2)
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
        drawing.colorbar(hexes, ax=right, label="samples")


def energies(ensemble: Ensemble, title: str, path: Path) -> None:
    """The potential energies of the samples as drawn, and reweighted to the Boltzmann distribution."""
    used = np.isfinite(ensemble.energies)
    values, shares = ensemble.energies[used], ensemble.weights[used]
    low, high = np.percentile(values, [0.02, 99.5])
    edges = np.linspace(low, high, 90).tolist()
    with figure(path, (5.6, 3.8), title) as drawing:
        panel = drawing.subplots()
        panel.hist(values, edges, density=True, color=GREY, alpha=0.45, label="as drawn")
        panel.hist(
            values, edges, weights=shares, density=True, histtype="step", color=BLUE, linewidth=1.8, label="reweighted"
        )
        panel.set(xlabel="potential energy (kJ/mol)", ylabel="probability density (mol/kJ)", xlim=(low, high))
        panel.legend(loc="upper right")
