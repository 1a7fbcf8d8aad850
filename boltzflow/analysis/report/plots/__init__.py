"""Figures for a talk or a paper: labelled, with units, as PNG and PDF."""

from boltzflow.analysis.report.plots.curves import distances, marginals, profiles
from boltzflow.analysis.report.plots.surfaces import SurfaceOf, ramachandran, ramachandran_comparison, torsion_pairs
from boltzflow.analysis.report.plots.training import training
from boltzflow.analysis.report.plots.weights import energies, weights

__all__ = [
    "SurfaceOf",
    "distances",
    "energies",
    "marginals",
    "profiles",
    "ramachandran",
    "ramachandran_comparison",
    "torsion_pairs",
    "training",
    "weights",
]
