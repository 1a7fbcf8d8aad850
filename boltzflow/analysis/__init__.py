"""What weighted samples say: free energies, populations, sanity of the geometry, plots, a summary."""

from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.comparison import kl_divergence, total_variation
from boltzflow.analysis.free_energy import (
    FreeEnergyProfile,
    FreeEnergySurface,
    Population,
    free_energy_profile,
    free_energy_surface,
    population,
)
from boltzflow.analysis.geometry import GeometryCheck, check_geometry, wrong_handed
from boltzflow.analysis.observables import backbone_torsions
from boltzflow.analysis.refinement import anneal, hamiltonian_moves, independence_metropolis
from boltzflow.analysis.replicas import ReplicaCheck, compare_replicas
from boltzflow.analysis.report import Summary, analyze
from boltzflow.analysis.smoothing import smooth
from boltzflow.analysis.symmetry import unfold
from boltzflow.analysis.thermodynamics import heat_capacity
from boltzflow.analysis.verdict import Trust, Verdict
from boltzflow.analysis.weights import WeightDiagnostics, diagnose

__all__ = [
    "CollapseCheck",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeometryCheck",
    "Population",
    "ReplicaCheck",
    "Summary",
    "Trust",
    "Verdict",
    "WeightDiagnostics",
    "analyze",
    "anneal",
    "backbone_torsions",
    "check_collapse",
    "check_geometry",
    "compare_replicas",
    "diagnose",
    "free_energy_profile",
    "free_energy_surface",
    "hamiltonian_moves",
    "heat_capacity",
    "independence_metropolis",
    "kl_divergence",
    "population",
    "smooth",
    "total_variation",
    "unfold",
    "wrong_handed",
]
