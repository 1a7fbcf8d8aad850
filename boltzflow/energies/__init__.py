"""Potential energies of molecules, batched and differentiable, and their Boltzmann distributions."""

from boltzflow.energies.forcefield import TorchPotential
from boltzflow.energies.openmm_bridge import OpenMMPotential
from boltzflow.energies.potential import Potential
from boltzflow.energies.target import BoltzmannTarget, PulledBackTarget, pullback

__all__ = ["BoltzmannTarget", "OpenMMPotential", "Potential", "PulledBackTarget", "TorchPotential", "pullback"]
