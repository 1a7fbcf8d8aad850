"""What weighted samples say: averages, densities, free energies, populations, sanity, a reference, plots, a summary."""

from boltzflow.analysis.axes import Axis
from boltzflow.analysis.clusters import Clusters, representatives
from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.comparison import Comparison, Distance, compare
from boltzflow.analysis.correlation import decorrelated, statistical_inefficiency
from boltzflow.analysis.densities import Density, histogram, kernel_density
from boltzflow.analysis.differences import FreeEnergyDifferences, free_energy_differences, mbar
from boltzflow.analysis.distances import jensen_shannon, kl_divergence, total_variation, wasserstein
from boltzflow.analysis.forward import ForwardCheck, check_forward
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
from boltzflow.analysis.references import Reference, as_reference
from boltzflow.analysis.refinement import anneal, hamiltonian_moves, independence_metropolis
from boltzflow.analysis.replicas import ReplicaCheck, compare_replicas
from boltzflow.analysis.report import Summary, analyze
from boltzflow.analysis.reweighting import log_weights_of, reweight
from boltzflow.analysis.smoothing import smooth
from boltzflow.analysis.states import BoltzmannState, GeneratorState, ReducedEnergies, reduced_energies
from boltzflow.analysis.symmetry import unfold
from boltzflow.analysis.targeted import LatentMap, Mapped, targeted_differences
from boltzflow.analysis.thermodynamics import (
    AbsoluteFreeEnergy,
    TemperatureSeries,
    absolute_free_energy,
    heat_capacity,
    temperature_series,
)
from boltzflow.analysis.weights import WeightDiagnostics, diagnose
from boltzflow.verdict import Trust, Verdict

__all__ = [
    "AbsoluteFreeEnergy",
    "Axis",
    "BoltzmannState",
    "Clusters",
    "CollapseCheck",
    "Comparison",
    "Density",
    "Distance",
    "ForwardCheck",
    "FreeEnergyDifferences",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeneratorState",
    "GeometryCheck",
    "Labelled",
    "LatentMap",
    "Mapped",
    "Population",
    "Projection",
    "ReducedEnergies",
    "Reference",
    "ReplicaCheck",
    "States",
    "Summary",
    "TemperatureSeries",
    "Trust",
    "Verdict",
    "WeightDiagnostics",
    "absolute_free_energy",
    "analyze",
    "anneal",
    "arc",
    "as_reference",
    "backbone_torsions",
    "check_collapse",
    "check_forward",
    "check_geometry",
    "circular_mean",
    "compare",
    "compare_replicas",
    "decorrelated",
    "diagnose",
    "free_energy_differences",
    "free_energy_profile",
    "free_energy_surface",
    "hamiltonian_moves",
    "heat_capacity",
    "histogram",
    "hydrogen_bonds",
    "independence_metropolis",
    "j_couplings",
    "jensen_shannon",
    "kernel_density",
    "kl_divergence",
    "log_weights_of",
    "mbar",
    "means",
    "population",
    "population_of",
    "principal_components",
    "reduced_energies",
    "representatives",
    "reweight",
    "secondary_structure",
    "smooth",
    "state_populations",
    "statistical_inefficiency",
    "targeted_differences",
    "temperature_series",
    "torsion_features",
    "total_variation",
    "unfold",
    "wasserstein",
    "wrong_handed",
]
