"""Molecules: topology, force field, reference structure and temperature; the library of prepared systems."""

from boltzflow.molecules.library import SystemDescription, available_systems, load_system
from boltzflow.molecules.sources import read_molecule
from boltzflow.molecules.system import MolecularSystem
from boltzflow.molecules.torsions import NamedTorsion, named_torsions, rotatable_torsions, torsion_values

__all__ = [
    "MolecularSystem",
    "NamedTorsion",
    "SystemDescription",
    "available_systems",
    "load_system",
    "named_torsions",
    "read_molecule",
    "rotatable_torsions",
    "torsion_values",
]
