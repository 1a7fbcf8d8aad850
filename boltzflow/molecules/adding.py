"""Adds a molecule to the library."""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openmm.unit as u
from openmm import app

from boltzflow.energies.system_xml import system_to_xml
from boltzflow.errors import BoltzflowError, OptionError, RunDirectoryError, StorageError
from boltzflow.molecules.library import (
    DESCRIPTION,
    STRUCTURE,
    TOPOLOGY,
    SystemDescription,
    available_systems,
    user_folder,
)
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.plain import topology_to_plain
from boltzflow.molecules.system import MolecularSystem
from boltzflow.storage import replace_file

SYSTEM_XML = "system.xml"


def add_to_library(
    system: MolecularSystem,
    name: str,
    *,
    source: str,
    forcefield: Sequence[str] = (),
    constraints: Constraints = "none",
    library: Path | None = None,
) -> Path:
    """Write a system's folder to the library, from which `load_system(name)` loads it.

    The folder contains system.yaml, topology.pdb and README.md. It also contains system.xml with the Hamiltonian,
    unless all force-field files are OpenMM's own. If the PDB format cannot represent all names (residue names longer
    than four letters, several atoms with one name), structure.json contains them, with the positions at full
    precision. The folder is written atomically: completely or not at all.

    Args:
        system: the molecule.
        name: lower-case letters, digits and underscores.
        source: the origin of the molecule, for the README.
        forcefield: the force-field files; empty for a ready-made System.
        constraints: the constraints with which the System was built from these files.
        library: the parent folder; the user's own library if not given.

    Raises:
        OptionError: if the name is invalid.
        RunDirectoryError: if the library already has a system of this name, or the folder exists; nothing is written.
        UnsupportedForceError: if the Hamiltonian cannot be written.
        StorageError: if the folder cannot be written; no partial folder is left behind.
    """
    folder = new_folder(name, library)
    structure, is_whole = _pdb(system)
    is_ready = not forcefield or not is_whole or any(Path(file).exists() for file in forcefield)
    description = SystemDescription.of(
        description=f"{system.n_atoms} atoms from {source}, {system.temperature:g} K",
        forcefield=() if is_ready else tuple(forcefield),
        openmm_system=SYSTEM_XML if is_ready else None,
        constraints="none" if is_ready else constraints,
        temperature=system.temperature,
    )
    files = {TOPOLOGY: structure, "README.md": _readme(system, name, source, forcefield, constraints)}
    if is_ready:
        files[SYSTEM_XML] = system_to_xml(system.openmm_system)
    if not is_whole:
        plain = {"topology": topology_to_plain(system.topology), "positions": system.positions.tolist()}
        files[STRUCTURE] = json.dumps(plain)
    partial = folder.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        for file, text in files.items():
            replace_file(partial / file, text)
        description.write(partial / DESCRIPTION)
        partial.rename(folder)
    except BoltzflowError:
        raise
    except OSError as error:
        raise StorageError(f"Cannot make {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def new_folder(name: str, library: Path | None = None) -> Path:
    """The path of a new system's folder; see `add_to_library` for the arguments.

    Raises:
        OptionError: if the name is invalid.
        RunDirectoryError: if the library already has a system of this name, or the folder exists.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise OptionError(
            f"Expected a name of lower-case letters, digits and underscores; got {name!r} (--name on the command line)."
        )
    folder = (library or user_folder()) / name
    if folder.exists() or name in available_systems():
        found = available_systems().get(name, folder)
        raise RunDirectoryError(f"Expected a new name; the system {name!r} already exists in {found}.")
    return folder


def _pdb(system: MolecularSystem) -> tuple[str, bool]:
    """The reference structure as a PDB file, and whether this file preserves all names and bonds."""
    file = io.StringIO()
    app.PDBFile.writeFile(system.topology, system.positions * u.nanometer, file, keepIds=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names
        again = app.PDBFile(io.StringIO(file.getvalue())).topology
    return file.getvalue(), _names_and_bonds(again) == _names_and_bonds(system.topology)


def _names_and_bonds(topology: app.Topology) -> tuple[list[Any], set[frozenset[int]]]:
    atoms = [
        (atom.name, atom.element, residue.name, residue.id, residue.insertionCode.strip(), residue.chain.index)
        for residue in topology.residues()
        for atom in residue.atoms()
    ]
    return atoms, {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds()}


def _readme(
    system: MolecularSystem, name: str, source: str, forcefield: Sequence[str], constraints: Constraints
) -> str:
    residues = system.topology.getNumResidues()
    rows = {
        "made from": source,
        # A local path is useless on another machine; system.xml has the contents of the file.
        "force field": ", ".join(Path(f).name if Path(f).exists() else f for f in forcefield) or "as in that file",
        "constraints": f"{constraints}: {system.openmm_system.getNumConstraints()} distances",
        "temperature": f"{system.temperature:g} K",
        "size": f"{system.n_atoms} atoms, {residues} residue{'s' * (residues > 1)}, {len(system.bonds)} bonds",
        "`topology.pdb`": "the reference structure, which sets the chirality of each centre",
    }
    lines = [f"# {name}", "", "| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join([*lines, "", "```python", "import boltzflow as bf", "", f'bf.load_system("{name}")', "```", ""])
