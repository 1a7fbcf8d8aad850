"""Thermodynamic quantities from weighted samples."""

from __future__ import annotations

import numpy as np

from boltzflow.ensemble import Ensemble, Estimate
from boltzflow.units import GAS_CONSTANT


def heat_capacity(ensemble: Ensemble) -> Estimate:
    """The configurational heat capacity (⟨U²⟩ − ⟨U⟩²)/kT² in J/(mol K), with its standard error (delta method).

    It is d⟨U⟩/dT at the ensemble's temperature. Motion adds R/2 for each degree of freedom.

    Args:
        ensemble: with its energies and weights.

    Raises:
        NonFiniteError: if no weight is positive.

    >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [-1.0, 1.0], 300.0)
    >>> round(heat_capacity(ensemble).value, 3)  # 1 (kJ/mol)² / (R · (300 K)²)
    1.336
    """
    # The mean's own error does not enter to first order: a variance is least about the mean.
    variance = ensemble.mean(np.square(ensemble.energies - ensemble.mean(ensemble.energies).value))
    scale = 1e3 / (GAS_CONSTANT * ensemble.temperature**2)
    return Estimate(scale * variance.value, scale * variance.error)
