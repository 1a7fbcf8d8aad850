"""What weighted samples say: free energies, populations, sanity of the geometry, plots, a summary."""

from boltzflow.analysis.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.comparison import kl_divergence, total_variation
from boltzflow.analysis.correlation import decorrelated, statistical_inefficiency
from boltzflow.analysis.differences import FreeEnergyDifferences, free_energy_differences, mbar
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
from boltzflow.analysis.reweighting import FrameCheck, check_frames, log_weights_of, reweight, weights_verdict
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

__all__ = [
    "AbsoluteFreeEnergy",
    "BoltzmannState",
    "CollapseCheck",
    "FrameCheck",
    "FreeEnergyDifferences",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "GeneratorState",
    "GeometryCheck",
    "LatentMap",
    "Mapped",
    "Population",
    "ReducedEnergies",
    "ReplicaCheck",
    "Summary",
    "TemperatureSeries",
    "absolute_free_energy",
    "analyze",
    "backbone_torsions",
    "check_collapse",
    "check_frames",
    "check_geometry",
    "compare_replicas",
    "decorrelated",
    "free_energy_differences",
    "free_energy_profile",
    "free_energy_surface",
    "heat_capacity",
    "kl_divergence",
    "log_weights_of",
    "mbar",
    "population",
    "reduced_energies",
    "reweight",
    "statistical_inefficiency",
    "targeted_differences",
    "temperature_series",
    "total_variation",
    "unfold",
    "weights_verdict",
    "wrong_handed",
]
