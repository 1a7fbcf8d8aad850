"""Simulation of thousands of replicas in parallel: minimisation, Langevin dynamics, parallel tempering."""

from boltzflow.molecules import NamedTorsion, named_torsions, torsion_values
from boltzflow.simulation.bias import BiasedPotential, phi_umbrella, torsion_umbrella
from boltzflow.simulation.langevin import Langevin, State
from boltzflow.simulation.minimization import Minimum, minimize
from boltzflow.simulation.parallel_tempering import ParallelTempering
from boltzflow.simulation.particles import Particles
from boltzflow.simulation.polishing import polish
from boltzflow.simulation.tempering_options import Progress, TemperingOptions
from boltzflow.simulation.tempering_result import TemperingResult

__all__ = [
    "BiasedPotential",
    "Langevin",
    "Minimum",
    "NamedTorsion",
    "ParallelTempering",
    "Particles",
    "Progress",
    "State",
    "TemperingOptions",
    "TemperingResult",
    "minimize",
    "named_torsions",
    "phi_umbrella",
    "polish",
    "torsion_umbrella",
    "torsion_values",
]
