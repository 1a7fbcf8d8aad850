"""Native torch terms for force fields, translated from OpenMM."""

from boltzflow.energies.forcefield.registry import TRANSLATORS, translate
from boltzflow.energies.forcefield.term import Term
from boltzflow.energies.forcefield.torch_potential import TorchPotential

__all__ = ["TRANSLATORS", "Term", "TorchPotential", "translate"]
