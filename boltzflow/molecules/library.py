"""The library of prepared systems: NAME/system.yaml and NAME/topology.pdb in one of several folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from openmm import app
from pydantic import PositiveFloat

from boltzflow.documents import Document
from boltzflow.errors import FileFormatError, SystemNotFoundError
from boltzflow.molecules.forcefields import forcefield_of_folder, is_inside
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.plain import system_from_xml, topology_from_plain
from boltzflow.molecules.readers.pdb import from_structure
from boltzflow.molecules.readers.reading import read_structure_file
from boltzflow.molecules.system import MolecularSystem
from boltzflow.storage import reading
from boltzflow.units import Temperature

DESCRIPTION, TOPOLOGY = "system.yaml", "topology.pdb"
STRUCTURE = "structure.json"
"""Topology and positions that the PDB format cannot represent: long residue names, several atoms with one name."""


class SystemDescription(Document):
    """The contents of a `system.yaml`. Force-field files are looked up in its folder, then among OpenMM's.

    Instead of a force field, the folder may contain the XML of an `openmm.System`.
    """

    description: str
    forcefield: tuple[str, ...] = ()
    openmm_system: str | None = None
    constraints: Constraints = "none"
    temperature: PositiveFloat


def library_folders() -> tuple[Path, ...]:
    """The folders in which systems are looked up, in order of precedence.

    ``$BOLTZFLOW_SYSTEMS`` (folders separated as in ``$PATH``), the user's data folder, the installed
    package, the checkout of an editable install.
    """
    package = Path(__file__).parents[1]
    asked = [
        Path(folder).expanduser() for folder in os.environ.get("BOLTZFLOW_SYSTEMS", "").split(os.pathsep) if folder
    ]
    return (*asked, user_folder(), package / "systems", package.parent / "systems")


def user_folder() -> Path:
    """The folder of the user's own systems."""
    return platformdirs.user_data_path("boltzflow", appauthor=False) / "systems"


def available_systems() -> dict[str, Path]:
    """The folder of each system that `load_system` can load, by name.

    >>> "alanine_dipeptide" in available_systems()
    True
    """
    found: dict[str, Path] = {}
    for folder in library_folders():
        for description in sorted(folder.glob(f"[!.]*/{DESCRIPTION}")):
            found.setdefault(description.parent.name, description.parent)
    return dict(sorted(found.items()))


def load_system(name: str, temperature: Temperature | None = None) -> MolecularSystem:
    """Load a system from the library.

    Args:
        name: the name of its folder.
        temperature: in K; that of the system's description if not given.

    Raises:
        SystemNotFoundError: if no system has this name; lists the available systems.
        MissingFileError: if one of its files is missing.
        FileFormatError: if a file is damaged, or if the force field would run code or is in another folder.
        UnsupportedForceError: if its System could run code.
        OptionError: if the temperature is not positive.

    >>> load_system("alanine_dipeptide")
    MolecularSystem('alanine_dipeptide', 22 atoms, 300 K)
    """
    systems = available_systems()
    if name not in systems:
        known = ", ".join(systems) or "none"
        raise SystemNotFoundError(f"Expected the name of a system; got {name!r}; available systems: {known}.")
    folder = systems[name]
    description = SystemDescription.read(folder / DESCRIPTION)
    if bool(description.forcefield) == (description.openmm_system is not None):
        raise FileFormatError(f"Expected either a forcefield or an openmm_system in {folder / DESCRIPTION}.")
    kelvin = description.temperature if temperature is None else temperature
    if description.openmm_system is not None:
        topology, positions = _structure(folder)
        return MolecularSystem(
            topology, system_from_xml(_text(folder, description.openmm_system)), positions, kelvin, name
        )
    field, files = forcefield_of_folder(folder, description.forcefield)
    parts = from_structure(folder / TOPOLOGY, "PDB", field, files, description.constraints)
    return MolecularSystem(*parts, kelvin, name)


def _structure(folder: Path) -> tuple[app.Topology, Any]:
    """The topology and the positions of a system's folder."""
    if not (folder / STRUCTURE).is_file():
        pdb = read_structure_file(folder / TOPOLOGY, "PDB")
        return pdb.topology, pdb.positions
    text = _text(folder, STRUCTURE)
    try:
        plain = json.loads(text)
        return topology_from_plain(plain["topology"]), np.array(plain["positions"], dtype=np.float64)
    except (LookupError, TypeError, ValueError) as error:
        raise FileFormatError(f"Expected a topology and positions in {folder / STRUCTURE}; got {error!r}.") from None


def _text(folder: Path, name: str) -> str:
    if not is_inside(name):
        raise FileFormatError(f"Expected a file in {folder}; got {name!r}.")
    with reading(folder / name, "Cannot read {}"):
        return (folder / name).read_text(encoding="utf-8")
