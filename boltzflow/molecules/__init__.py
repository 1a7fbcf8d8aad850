"""Molecules: topology, force field, reference structure and temperature; the library of prepared systems."""

from boltzflow.molecules.library import SystemDescription, available_systems, load_system
from boltzflow.molecules.sources import read_molecule
from boltzflow.molecules.system import MolecularSystem

__all__ = ["MolecularSystem", "SystemDescription", "available_systems", "load_system", "read_molecule"]
