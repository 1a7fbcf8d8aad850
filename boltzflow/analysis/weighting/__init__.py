"""Functions that change weights: other states, smoothing, unfolding of symmetry, refinement by Monte Carlo moves."""

from boltzflow.analysis.weighting.refinement import anneal, hamiltonian_moves, independence_metropolis
from boltzflow.analysis.weighting.reweighting import log_weights_of, reweight
from boltzflow.analysis.weighting.smoothing import smooth
from boltzflow.analysis.weighting.states import BoltzmannState, GeneratorState, ReducedEnergies, reduced_energies
from boltzflow.analysis.weighting.unfolding import unfold

__all__ = [
    "BoltzmannState",
    "GeneratorState",
    "ReducedEnergies",
    "anneal",
    "hamiltonian_moves",
    "independence_metropolis",
    "log_weights_of",
    "reduced_energies",
    "reweight",
    "smooth",
    "unfold",
]
