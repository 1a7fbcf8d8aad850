"""What weighted samples say: free energies, populations, sanity of the geometry, plots, a summary."""

from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.distances import jensen_shannon, kl_divergence, total_variation, wasserstein
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
from boltzflow.analysis.replicas import ReplicaCheck, compare_replicas
from boltzflow.analysis.report import Summary, analyze
from boltzflow.analysis.symmetry import unfold
from boltzflow.analysis.thermodynamics import heat_capacity

__all__ = [
    "CollapseCheck",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeometryCheck",
    "Population",
    "ReplicaCheck",
    "Summary",
    "analyze",
    "backbone_torsions",
    "check_collapse",
    "check_geometry",
    "compare_replicas",
    "free_energy_profile",
    "free_energy_surface",
    "heat_capacity",
    "kl_divergence",
    "population",
    "total_variation",
    "unfold",
    "wrong_handed",
]
