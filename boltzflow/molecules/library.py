"""The library of ready systems: NAME/system.yaml and NAME/topology.pdb in one of several folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
from pydantic import Field, PositiveFloat

import boltzflow
from boltzflow.documents import Document
from boltzflow.errors import SystemNotFoundError
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.system import MolecularSystem


class SystemDescription(Document):
    """What a `system.yaml` says."""

    description: str
    forcefield: tuple[str, ...] = Field(min_length=1)
    constraints: Constraints = "none"
    temperature: PositiveFloat


def library_folders() -> tuple[Path, ...]:
    """Where systems are looked for, the first found wins.

    ``$BOLTZFLOW_SYSTEMS`` (folders separated as in ``$PATH``), the user's data folder, the installed
    package, the checkout of an editable install.
    """
    package = Path(boltzflow.__file__).parent
    asked = [
        Path(folder).expanduser() for folder in os.environ.get("BOLTZFLOW_SYSTEMS", "").split(os.pathsep) if folder
    ]
    user = platformdirs.user_data_path("boltzflow", appauthor=False) / "systems"
    return (*asked, user, package / "systems", package.parent / "systems")


def available_systems() -> dict[str, Path]:
    """The folder of each system that `load_system` knows, by name.

    >>> "alanine_dipeptide" in available_systems()
    True
    """
    found: dict[str, Path] = {}
    for folder in library_folders():
        for description in sorted(folder.glob("*/system.yaml")):
            found.setdefault(description.parent.name, description.parent)
    return dict(sorted(found.items()))


def load_system(name: str, temperature: float | None = None) -> MolecularSystem:
    """A system of the library.

    Args:
        name: its folder's name.
        temperature: in K; that of the system's description if not given.

    Raises:
        SystemNotFoundError: if no system has this name; lists those that exist.
        FileFormatError: if its description is damaged.
        OptionError: if the temperature is not positive.

    >>> load_system("alanine_dipeptide")
    MolecularSystem('alanine_dipeptide', 22 atoms, 300 K)
    """
    systems = available_systems()
    if name not in systems:
        known = ", ".join(systems) or "none"
        raise SystemNotFoundError(f"No system is called {name!r}; known systems: {known}.")
    description = SystemDescription.read(systems[name] / "system.yaml")
    return MolecularSystem.from_pdb(
        systems[name] / "topology.pdb",
        forcefield=description.forcefield,
        temperature=description.temperature if temperature is None else temperature,
        constraints=description.constraints,
        name=name,
    )
