"""Figures for a talk or a paper: labelled, with units, as PNG and PDF."""

from boltzflow.analysis.plots.curves import distances, marginals, profiles
from boltzflow.analysis.plots.surfaces import ramachandran, ramachandran_comparison
from boltzflow.analysis.plots.training import training
from boltzflow.analysis.plots.weights import energies, weights

__all__ = [
    "distances",
    "energies",
    "marginals",
    "profiles",
    "ramachandran",
    "ramachandran_comparison",
    "training",
    "weights",
]
