"""Reads an `openmm.System` from XML, and its atoms from a structure file."""

from __future__ import annotations

from pathlib import Path

from boltzflow.molecules.plain import system_from_xml
from boltzflow.molecules.readers.reading import Parts, read_file, read_structure_file


def from_openmm_xml(xml: str | Path, structure: str | Path) -> Parts:
    """Read a System with the atoms of a PDB or mmCIF file."""
    text = read_file(xml, lambda path: Path(path).read_text(encoding="utf-8"), "an XML")
    found = read_structure_file(structure, "mmCIF" if Path(structure).suffix.lower() == ".cif" else "PDB")
    return Parts(found.topology, system_from_xml(text), found.positions)
