"""Estimates from weighted samples: averages, densities, populations, free-energy profiles, clusters, projections."""

from boltzflow.analysis.estimates.clusters import Clusters, representatives
from boltzflow.analysis.estimates.conformer_table import Conformer, Conformers, conformers
from boltzflow.analysis.estimates.correlation import decorrelated, statistical_inefficiency
from boltzflow.analysis.estimates.couplings import Coupling, couplings
from boltzflow.analysis.estimates.densities import Density, histogram, kernel_density
from boltzflow.analysis.estimates.intramolecular import hydrogen_bond_populations, intramolecular_hydrogen_bonds
from boltzflow.analysis.estimates.observables import (
    Labelled,
    backbone_torsions,
    circular_mean,
    hydrogen_bonds,
    j_couplings,
    means,
    secondary_structure,
    torsion_angles,
)
from boltzflow.analysis.estimates.populations import (
    Population,
    States,
    arc,
    population,
    population_of,
    state_populations,
)
from boltzflow.analysis.estimates.profiles import (
    FreeEnergyProfile,
    FreeEnergySurface,
    free_energy_profile,
    free_energy_surface,
)
from boltzflow.analysis.estimates.projections import Projection, principal_components, torsion_features
from boltzflow.analysis.estimates.puckers import Pucker, cremer_pople, pucker_populations, ring_puckers
from boltzflow.analysis.estimates.ring_atoms import Ring, rings
from boltzflow.analysis.estimates.rotamers import Rotamers, rotamers
from boltzflow.analysis.estimates.sizes import end_to_end_distance, radius_of_gyration
from boltzflow.analysis.estimates.torsion_states import TorsionStates, torsion_states
from boltzflow.analysis.estimates.torus import TorusDensity, torus_density

__all__ = [
    "Clusters",
    "Conformer",
    "Conformers",
    "Coupling",
    "Density",
    "FreeEnergyProfile",
    "FreeEnergySurface",
    "Labelled",
    "Population",
    "Projection",
    "Rotamers",
    "Pucker",
    "Ring",
    "States",
    "TorusDensity",
    "TorsionStates",
    "arc",
    "backbone_torsions",
    "circular_mean",
    "couplings",
    "conformers",
    "cremer_pople",
    "decorrelated",
    "end_to_end_distance",
    "free_energy_profile",
    "free_energy_surface",
    "histogram",
    "hydrogen_bond_populations",
    "hydrogen_bonds",
    "intramolecular_hydrogen_bonds",
    "j_couplings",
    "kernel_density",
    "means",
    "population",
    "population_of",
    "principal_components",
    "pucker_populations",
    "radius_of_gyration",
    "representatives",
    "rotamers",
    "ring_puckers",
    "rings",
    "secondary_structure",
    "state_populations",
    "statistical_inefficiency",
    "torsion_angles",
    "torsion_features",
    "torus_density",
    "torsion_states",
]
