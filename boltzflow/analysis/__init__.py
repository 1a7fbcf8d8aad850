"""What weighted samples say: free energies, populations, sanity of the geometry, a reference, plots, a summary."""

from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.comparison import Comparison, Distance, compare
from boltzflow.analysis.distances import jensen_shannon, kl_divergence, total_variation, wasserstein
from boltzflow.analysis.forward import ForwardCheck, check_forward
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
from boltzflow.analysis.references import Reference, as_reference
from boltzflow.analysis.replicas import ReplicaCheck, compare_replicas
from boltzflow.analysis.report import Summary, analyze
from boltzflow.analysis.structures import representatives
from boltzflow.analysis.symmetry import unfold
from boltzflow.analysis.thermodynamics import heat_capacity

__all__ = [
    "CollapseCheck",
    "Comparison",
    "Distance",
    "ForwardCheck",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeometryCheck",
    "Population",
    "Reference",
    "ReplicaCheck",
    "Summary",
    "analyze",
    "as_reference",
    "backbone_torsions",
    "check_collapse",
    "check_forward",
    "check_geometry",
    "compare",
    "compare_replicas",
    "free_energy_profile",
    "free_energy_surface",
    "heat_capacity",
    "jensen_shannon",
    "kl_divergence",
    "population",
    "representatives",
    "total_variation",
    "unfold",
    "wasserstein",
    "wrong_handed",
]
