"""From a molecule's file to a folder of the library."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openmm.unit as u
from openmm import app

from boltzflow.energies.system_xml import system_to_xml
from boltzflow.errors import OptionError, RunDirectoryError, TopologyError
from boltzflow.molecules.library import DESCRIPTION, TOPOLOGY, SystemDescription, available_systems, user_folder
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.system import MolecularSystem

SYSTEM_XML = "system.xml"

_STRUCTURES = {".pdb": MolecularSystem.from_pdb, ".cif": MolecularSystem.from_mmcif}
_WITH_COORDINATES = {
    ".prmtop": MolecularSystem.from_amber,
    ".parm7": MolecularSystem.from_amber,
    ".top": MolecularSystem.from_gromacs,
}


def read_molecule(
    path: Path,
    *,
    coordinates: Path | None = None,
    parameters: Sequence[Path] = (),
    forcefield: Sequence[str] = (),
    hydrogens_at_ph: float | None = None,
    constraints: Constraints = "none",
    temperature: float = 300.0,
) -> MolecularSystem:
    """A molecule from any file that there is a reader for, by the file's suffix.

    Args:
        path: .pdb or .cif with a force field; .prmtop, .parm7 or .top with coordinates; .psf with coordinates and
            parameters.
        coordinates: inpcrd or rst7 (Amber), gro (GROMACS), pdb or crd (CHARMM).
        parameters: of CHARMM.
        forcefield: OpenMM force-field files.
        hydrogens_at_ph: adds those that a structure lacks; None adds none.
        constraints: of the System.
        temperature: K.

    Raises:
        OptionError: if the suffix is of no known kind, or an option is missing or has no use for it.
        BoltzflowError: whatever the reader raises.
    """
    kind = path.suffix.lower()
    known = [*_STRUCTURES, *_WITH_COORDINATES, ".psf"]
    if kind not in known:
        raise OptionError(f"Expected a file {', '.join(known)}; got {path.name}.")
    is_structure = kind in _STRUCTURES
    for given, is_used, name in (
        (forcefield, is_structure, "force field"),
        (coordinates, not is_structure, "coordinates"),
        (parameters, kind == ".psf", "parameters"),
    ):
        if bool(given) != is_used:
            raise OptionError(f"Expected {'' if is_used else 'no '}{name} with {path.name}.")
    if hydrogens_at_ph is not None and not is_structure:
        raise OptionError(f"Expected a PDB or mmCIF file to add hydrogens to; got {path.name}.")
    options: dict[str, Any] = {"temperature": temperature, "constraints": constraints}
    if is_structure:
        return _STRUCTURES[kind](path, forcefield, hydrogens_at_ph=hydrogens_at_ph, **options)
    if kind == ".psf":
        return MolecularSystem.from_charmm(path, str(coordinates), parameters, **options)
    return _WITH_COORDINATES[kind](path, str(coordinates), **options)


def add_to_library(
    system: MolecularSystem,
    name: str,
    *,
    source: str,
    forcefield: Sequence[str] = (),
    constraints: Constraints = "none",
    library: Path | None = None,
) -> Path:
    """Write a system's folder, which `load_system(name)` finds then.

    The folder holds system.yaml, topology.pdb and README.md; and, unless all files of the force field are OpenMM's
    own, system.xml with the Hamiltonian.

    Args:
        system: the molecule.
        name: lower-case letters, digits and underscores.
        source: what it was made from, for the README.
        forcefield: its files; empty for a ready System.
        constraints: by which it was built with them.
        library: where the folder is made; the user's own library if not given.

    Raises:
        OptionError: if the name is not one.
        TopologyError: if a PDB file cannot hold its atoms and bonds.
        RunDirectoryError: if the library has such a system, or the folder exists; nothing is written.
        UnsupportedForceError: if the Hamiltonian cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise OptionError(f"Expected a name of lower-case letters, digits and underscores; got {name!r}.")
    folder = (library or user_folder()) / name
    if folder.exists() or name in available_systems():
        found = available_systems().get(name, folder)
        raise RunDirectoryError(f"Expected a new name; there is a system {name!r} in {found}.")
    is_ready = not forcefield or any(Path(file).exists() for file in forcefield)
    description = SystemDescription.of(
        description=f"{system.n_atoms} atoms from {source}, {system.temperature:g} K",
        forcefield=() if is_ready else tuple(forcefield),
        openmm_system=SYSTEM_XML if is_ready else None,
        constraints="none" if is_ready else constraints,
        temperature=system.temperature,
    )
    xml = system_to_xml(system.openmm_system) if is_ready else None
    structure = _pdb(system)
    folder.mkdir(parents=True)
    if xml is not None:
        (folder / SYSTEM_XML).write_text(xml, encoding="utf-8")
    (folder / TOPOLOGY).write_text(structure, encoding="utf-8")
    description.write(folder / DESCRIPTION)
    (folder / "README.md").write_text(_readme(system, name, source, forcefield, constraints), encoding="utf-8")
    return folder


def _pdb(system: MolecularSystem) -> str:
    """The reference structure as a PDB file, if it holds all atoms and bonds."""
    file = io.StringIO()
    app.PDBFile.writeFile(system.topology, system.positions * u.nanometer, file, keepIds=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice: refused below
        again = app.PDBFile(io.StringIO(file.getvalue())).topology
    bonds = {frozenset((bond.atom1.index, bond.atom2.index)) for bond in again.bonds()}
    if again.getNumAtoms() != system.n_atoms or bonds != {frozenset(pair) for pair in system.bonds}:
        raise TopologyError(
            f"Expected a molecule that a PDB file can hold; of {system.n_atoms} atoms and {len(system.bonds)} bonds "
            f"{again.getNumAtoms()} and {len(bonds)} come back: give the atoms of each residue different names."
        )
    return file.getvalue()


def _readme(
    system: MolecularSystem, name: str, source: str, forcefield: Sequence[str], constraints: Constraints
) -> str:
    residues = system.topology.getNumResidues()
    rows = {
        "made from": source,
        # A path of this machine says nothing elsewhere: what it held is in system.xml.
        "force field": ", ".join(Path(f).name if Path(f).exists() else f for f in forcefield) or "as in that file",
        "constraints": f"{constraints}: {system.openmm_system.getNumConstraints()} distances",
        "temperature": f"{system.temperature:g} K",
        "size": f"{system.n_atoms} atoms, {residues} residue{'s' * (residues > 1)}, {len(system.bonds)} bonds",
        "`topology.pdb`": "the reference structure, which sets the handedness of each centre",
    }
    lines = [f"# {name}", "", "| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join([*lines, "", "```python", "import boltzflow as bf", "", f'bf.load_system("{name}")', "```", ""])
