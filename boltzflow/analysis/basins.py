"""The left-handed basin of amino acids: rare, and the first that a collapsed model loses."""

from __future__ import annotations

from collections.abc import Sequence

from boltzflow.analysis.axes import Array, Groups
from boltzflow.analysis.observables import Torsion
from boltzflow.analysis.populations import Population, population

POSITIVE_PHI = (0.0, 2.2)
"""rad: where the basin lies along φ."""


def positive_phi(
    torsions: Sequence[Torsion], log_weights: Array, temperature: float, low: float, high: float, groups: Groups
) -> dict[str, Population]:
    """The weighted share of low < φ < high (rad) of each residue, by its name.

    Args:
        torsions: of n frames, see `backbone_torsions`.
        log_weights: (n,).
        temperature: K.
        low, high: rad.
        groups: (n,) of the ensemble.
    """
    return {
        torsion.residue: population(torsion.values, low, high, log_weights, temperature, groups)
        for torsion in torsions
        if torsion.kind == "phi"
    }
