"""Any molecule by one function: from the library, files of other programs, a sequence or SMILES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boltzflow.errors import OptionError, SystemNotFoundError
from boltzflow.molecules.forcefields import DEFAULT_FORCEFIELD
from boltzflow.molecules.library import available_systems, load_system
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.reading import ImplicitSolvent
from boltzflow.molecules.system import MolecularSystem
from boltzflow.units import Temperature


class Kind(NamedTuple):
    """A kind of source.

    Attributes:
        name: such as "an Amber prmtop".
        read: takes the source and the values of `needs` by position, and the others by name.
        needs: options that must be given, each with a description.
        takes: options that may be given.
    """

    name: str
    read: Callable[..., MolecularSystem]
    needs: dict[str, str]
    takes: tuple[str, ...]


def _from_sequence(letters: str, hydrogens_at_ph: float = 7.0, **options: Any) -> MolecularSystem:
    return MolecularSystem.from_sequence(letters, ph=hydrogens_at_ph, **options)


def _from_smiles(smiles: str, **options: Any) -> MolecularSystem:
    return MolecularSystem.from_smiles(smiles, **_one_forcefield(options))


def _from_molfile(path: str, **options: Any) -> MolecularSystem:
    return MolecularSystem.from_molfile(path, **_one_forcefield(options))


def _one_forcefield(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a small molecule, whose force field is a name."""
    if "forcefield" not in options:
        return options
    return options | {"forcefield": " ".join(map(str, options["forcefield"]))}


_STRUCTURE = ("forcefield", "hydrogens_at_ph", "constraints", "temperature")
_PDB = Kind("a PDB file", MolecularSystem.from_pdb, {}, _STRUCTURE)
_MMCIF = Kind("an mmCIF file", MolecularSystem.from_mmcif, {}, _STRUCTURE)
_AMBER = Kind(
    "an Amber prmtop",
    MolecularSystem.from_amber,
    {"coordinates": "an inpcrd or rst7 file"},
    ("implicit_solvent", "constraints", "temperature"),
)
_GROMACS = Kind(
    "a GROMACS topology",
    MolecularSystem.from_gromacs,
    {"coordinates": "a gro file"},
    ("include_folder", "constraints", "temperature"),
)
_CHARMM = Kind(
    "a CHARMM psf",
    MolecularSystem.from_charmm,
    {"coordinates": "a crd or pdb file", "parameters": "rtf, prm or str files"},
    ("implicit_solvent", "constraints", "temperature"),
)
_OPENMM = Kind(
    "the XML of an openmm.System",
    MolecularSystem.from_openmm_xml,
    {"coordinates": "a pdb or cif file"},
    ("temperature",),
)
_LIGAND = ("forcefield", "implicit_solvent", "constraints", "temperature")
_MOLFILE = Kind("a file of a small molecule", _from_molfile, {}, (*_LIGAND, "add_hydrogens"))
FILES = {
    ".pdb": _PDB,
    ".ent": _PDB,
    ".cif": _MMCIF,
    ".mmcif": _MMCIF,
    ".prmtop": _AMBER,
    ".parm7": _AMBER,
    ".top": _GROMACS,
    ".psf": _CHARMM,
    ".xml": _OPENMM,
    ".sdf": _MOLFILE,
    ".mol": _MOLFILE,
    ".mol2": _MOLFILE,
}
"""The kind of each file, by its suffix in lower case."""

_LIBRARY = Kind("a system of the library", load_system, {}, ("temperature",))
_SEQUENCE = Kind("a sequence", _from_sequence, {}, (*_STRUCTURE, "caps"))
_SMILES = Kind("SMILES", _from_smiles, {}, _LIGAND)


def read_molecule(
    source: str | Path | None = None,
    *,
    sequence: str | None = None,
    smiles: str | None = None,
    coordinates: str | Path | None = None,
    parameters: Sequence[str | Path] = (),
    forcefield: Sequence[str | Path] = (),
    implicit_solvent: ImplicitSolvent | None = None,
    include_folder: str | Path | None = None,
    hydrogens_at_ph: float | None = None,
    add_hydrogens: bool | None = None,
    caps: bool | None = None,
    constraints: Constraints = "none",
    temperature: Temperature | None = None,
) -> MolecularSystem:
    """Read a molecule from any source; the command line reads all molecules with this function.

    Args:
        source: the name of a library system, or a file, whose suffix selects the reader: .pdb or .cif; .prmtop, .parm7
            or .top with coordinates; .psf with coordinates and parameters; .xml of an `openmm.System` with coordinates;
            .sdf, .mol or .mol2 of a small molecule.
        sequence: one-letter codes of a peptide, instead of `source`.
        smiles: of a small molecule, instead of `source`.
        coordinates: the reference structure: inpcrd or rst7 (Amber), gro (GROMACS), crd or pdb (CHARMM), pdb or cif
            (OpenMM).
        parameters: CHARMM rtf, prm and str files.
        forcefield: OpenMM force-field files for a PDB or mmCIF file or a sequence; Amber ff14SB with OBC2 if empty. For
            a small molecule "gaff2" (if empty) or "gaff".
        implicit_solvent: for a prmtop or psf, none if None; for a small molecule "OBC2" (if None) or "none".
        include_folder: folder of GROMACS' own force fields.
        hydrogens_at_ph: add the missing hydrogens of a PDB or mmCIF file at this pH; the pH of a sequence, 7 if None.
        add_hydrogens: add the missing hydrogens of a small molecule's file, for its formal charges.
        caps: whether a sequence gets ACE and NME at its ends; it does if None.
        constraints: "none", "HBonds", "AllBonds" or "HAngles"; a library system and a System have their own.
        temperature: in K, or a Quantity; if None that of the library system, or 300 K.

    Raises:
        OptionError: if there is not one source, the suffix is unknown, an option is missing, or one does not apply to
            the source.
        SystemNotFoundError: if no file or system of this name exists.
        BoltzflowError: any error of the reader; see the methods of `MolecularSystem`.

    >>> read_molecule("alanine_dipeptide", temperature=310.0)
    MolecularSystem('alanine_dipeptide', 22 atoms, 310 K)
    """
    given = [
        (kind, text) for kind, text in ((None, source), (_SEQUENCE, sequence), (_SMILES, smiles)) if text is not None
    ]
    if len(given) != 1:
        found = " and ".join(repr(str(text)) for _, text in given) or "none"
        raise OptionError(f"Expected one molecule: a system's name, a file, --sequence or --smiles; got {found}.")
    options: dict[str, Any] = {
        "coordinates": coordinates,
        "parameters": tuple(parameters),
        "forcefield": tuple(forcefield),
        "implicit_solvent": implicit_solvent,
        "include_folder": include_folder,
        "hydrogens_at_ph": hydrogens_at_ph,
        "add_hydrogens": add_hydrogens or None,
        "caps": caps,
        "constraints": None if constraints == "none" else constraints,
        "temperature": temperature,
    }
    asked = {name: value for name, value in options.items() if value not in (None, ())}
    ((kind, text),) = given
    kind = kind or kind_of(text)
    for name, value in asked.items():
        if name not in kind.needs and name not in kind.takes:
            given_value = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            raise OptionError(f"Expected no {_flag(name)} with {text}, {kind.name}; got {given_value}.")
    for name, what in kind.needs.items():
        if name not in asked:
            raise OptionError(f"{text}, {kind.name}, needs {what}: add {_flag(name)} FILE.")
    return kind.read(str(text), *(asked.pop(name) for name in kind.needs), **asked)


def kind_of(source: str | Path) -> Kind:
    """The kind of a library system or a file.

    Raises:
        OptionError: if a file has an unknown suffix.
        SystemNotFoundError: if it is neither the name of a library system nor that of a file.
    """
    suffix = Path(source).suffix.lower()
    if suffix in FILES:
        return FILES[suffix]
    if str(source) in available_systems():
        return _LIBRARY
    if suffix or Path(source).exists():
        raise OptionError(f"Expected a file with one of the suffixes {', '.join(FILES)}; got {source}.")
    known = ", ".join(available_systems()) or "none"
    raise SystemNotFoundError(
        f"Expected the name of a system, or a file ({', '.join(FILES)}); got {str(source)!r}; "
        f"available systems: {known}."
    )


def forcefield_files(source: str | Path | None, sequence: str | None, forcefield: Sequence[str]) -> tuple[str, ...]:
    """The force-field files with which a molecule is read: those given, or the default; empty if it has none."""
    if sequence is None and (source is None or kind_of(source) not in (_PDB, _MMCIF)):
        return ()
    return tuple(forcefield) or DEFAULT_FORCEFIELD


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
