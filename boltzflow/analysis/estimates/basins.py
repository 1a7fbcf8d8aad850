"""The left-handed basin (φ > 0) of amino acids: rare, and the first that a collapsed model loses."""

from __future__ import annotations

from collections.abc import Sequence

from boltzflow.analysis.estimates.observables import Torsion
from boltzflow.analysis.estimates.populations import Population, population
from boltzflow.ensemble import Ensemble

POSITIVE_PHI = (0.0, 2.2)
"""rad: the range of φ in this basin."""


def positive_phi(ensemble: Ensemble, torsions: Sequence[Torsion], low: float, high: float) -> dict[str, Population]:
    """The population of low < φ < high (rad) of each residue, by its name.

    Args:
        ensemble: n frames.
        torsions: of these frames, see `backbone_torsions`.
        low, high: rad.
    """
    return {
        torsion.residue: population(ensemble, torsion.values, low, high)
        for torsion in torsions
        if torsion.kind == "phi"
    }
