"""The library of ready systems: NAME/system.yaml and NAME/topology.pdb in one of several folders."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import platformdirs
from openmm import app
from pydantic import PositiveFloat

import boltzflow
from boltzflow.documents import Document
from boltzflow.errors import FileFormatError, SystemNotFoundError
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.plain import system_from_xml
from boltzflow.molecules.system import MolecularSystem

DESCRIPTION, TOPOLOGY = "system.yaml", "topology.pdb"

_CODE = ("Script", "InitializationScript", "Include")
"""Elements of a force-field file whose text OpenMM executes, or that name another file."""


class SystemDescription(Document):
    """What a `system.yaml` says. Force-field files are those beside it, or else those that OpenMM finds.

    Instead of a force field there may be the XML of an `openmm.System` beside it.
    """

    description: str
    forcefield: tuple[str, ...] = ()
    openmm_system: str | None = None
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
    return (*asked, user_folder(), package / "systems", package.parent / "systems")


def user_folder() -> Path:
    """Where the user's own systems are."""
    return platformdirs.user_data_path("boltzflow", appauthor=False) / "systems"


def available_systems() -> dict[str, Path]:
    """The folder of each system that `load_system` knows, by name.

    >>> "alanine_dipeptide" in available_systems()
    True
    """
    found: dict[str, Path] = {}
    for folder in library_folders():
        for description in sorted(folder.glob(f"*/{DESCRIPTION}")):
            found.setdefault(description.parent.name, description.parent)
    return dict(sorted(found.items()))


def load_system(name: str, temperature: float | None = None) -> MolecularSystem:
    """A system of the library.

    Args:
        name: its folder's name.
        temperature: in K; that of the system's description if not given.

    Raises:
        SystemNotFoundError: if no system has this name; lists those that exist.
        FileFormatError: if its description or its force field is damaged, or if the force field would run code.
        OptionError: if the temperature is not positive.

    >>> load_system("alanine_dipeptide")
    MolecularSystem('alanine_dipeptide', 22 atoms, 300 K)
    """
    systems = available_systems()
    if name not in systems:
        known = ", ".join(systems) or "none"
        raise SystemNotFoundError(f"No system is called {name!r}; known systems: {known}.")
    folder = systems[name]
    description = SystemDescription.read(folder / DESCRIPTION)
    if bool(description.forcefield) == (description.openmm_system is not None):
        raise FileFormatError(f"Expected either a forcefield or an openmm_system in {folder / DESCRIPTION}.")
    if description.openmm_system is not None:
        pdb = app.PDBFile(str(folder / TOPOLOGY))
        hamiltonian = system_from_xml(_text(folder / description.openmm_system))
        kelvin = description.temperature if temperature is None else temperature
        return MolecularSystem(pdb.topology, hamiltonian, pdb.positions, kelvin, name)
    return MolecularSystem.from_pdb(
        folder / TOPOLOGY,
        forcefield=[_resolved(folder, file) for file in description.forcefield],
        temperature=description.temperature if temperature is None else temperature,
        constraints=description.constraints,
        name=name,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"Cannot read {path}: {error}.") from None


def _resolved(folder: Path, file: str) -> str:
    """The path of a force-field file that lies in a system's folder; another's name is OpenMM's to find."""
    path = folder / file
    if not path.is_file():
        return file
    try:
        elements = list(ElementTree.parse(path).iter())
    except (OSError, ElementTree.ParseError) as error:
        raise FileFormatError(f"Expected the XML of a force field in {path}; reading it failed: {error}.") from None
    # What OpenMM would execute or evaluate as Python. A system's folder is data, and loading data runs no code.
    for element in elements:
        correction = element.get("useDispersionCorrection", "False")
        if element.tag in _CODE or correction not in ("True", "False"):
            raise FileFormatError(f"Expected a force field without code in {path}; <{element.tag}> would run some.")
    return str(path)
