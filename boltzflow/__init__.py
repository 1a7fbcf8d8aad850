"""boltzflow: independent equilibrium samples of molecules from normalizing flows, each with its exact weight.

>>> import boltzflow as bf
>>> bf.load_system("alanine_dipeptide").n_atoms
22
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from boltzflow.version import __version__

if TYPE_CHECKING:
    from boltzflow import core, errors
    from boltzflow.analysis import analyze
    from boltzflow.ensemble import Ensemble
    from boltzflow.errors import BoltzflowError
    from boltzflow.generator import BoltzmannGenerator
    from boltzflow.molecules import MolecularSystem, available_systems, load_system, read_molecule
    from boltzflow.training import train

__all__ = [
    "load_system",
    "available_systems",
    "read_molecule",
    "MolecularSystem",
    "BoltzmannGenerator",
    "train",
    "Ensemble",
    "analyze",
    "BoltzflowError",
    "core",
    "errors",
    "__version__",
]

# Torch and OpenMM take seconds to import: each name is fetched when it is first used.
_HOME = {
    "load_system": "boltzflow.molecules",
    "available_systems": "boltzflow.molecules",
    "read_molecule": "boltzflow.molecules",
    "MolecularSystem": "boltzflow.molecules",
    "BoltzmannGenerator": "boltzflow.generator",
    "train": "boltzflow.training",
    "Ensemble": "boltzflow.ensemble",
    "analyze": "boltzflow.analysis",
    "BoltzflowError": "boltzflow.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in __all__:
        value = import_module(f"boltzflow.{name}")
    else:
        raise AttributeError(f"module 'boltzflow' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
