"""What weighted samples say: averages, densities, free energies, populations, sanity, plots, a summary."""

from boltzflow.analysis.axes import Axis
from boltzflow.analysis.clusters import Clusters, representatives
from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.comparison import kl_divergence, total_variation
from boltzflow.analysis.densities import Density, histogram, kernel_density
from boltzflow.analysis.free_energy import (
    FreeEnergyProfile,
    FreeEnergySurface,
    free_energy_profile,
    free_energy_surface,
)
from boltzflow.analysis.geometry import GeometryCheck, check_geometry, wrong_handed
from boltzflow.analysis.observables import (
    Labelled,
    backbone_torsions,
    circular_mean,
    hydrogen_bonds,
    j_couplings,
    means,
    secondary_structure,
)
from boltzflow.analysis.populations import Population, States, arc, population, population_of, state_populations
from boltzflow.analysis.projections import Projection, principal_components, torsion_features
from boltzflow.analysis.refinement import anneal, hamiltonian_moves, independence_metropolis
from boltzflow.analysis.replicas import ReplicaCheck, compare_replicas
from boltzflow.analysis.report import Summary, analyze
from boltzflow.analysis.smoothing import smooth
from boltzflow.analysis.symmetry import unfold
from boltzflow.analysis.thermodynamics import heat_capacity
from boltzflow.analysis.verdict import Trust, Verdict
from boltzflow.analysis.weights import WeightDiagnostics, diagnose

__all__ = [
    "Axis",
    "Clusters",
    "CollapseCheck",
    "Density",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeometryCheck",
    "Labelled",
    "Population",
    "Projection",
    "ReplicaCheck",
    "States",
    "Summary",
    "Trust",
    "Verdict",
    "WeightDiagnostics",
    "analyze",
    "anneal",
    "arc",
    "backbone_torsions",
    "check_collapse",
    "check_geometry",
    "circular_mean",
    "compare_replicas",
    "diagnose",
    "free_energy_profile",
    "free_energy_surface",
    "hamiltonian_moves",
    "heat_capacity",
    "histogram",
    "hydrogen_bonds",
    "independence_metropolis",
    "j_couplings",
    "kernel_density",
    "kl_divergence",
    "means",
    "population",
    "population_of",
    "principal_components",
    "representatives",
    "secondary_structure",
    "smooth",
    "state_populations",
    "torsion_features",
    "total_variation",
    "unfold",
    "wrong_handed",
]
