"""Reads PDB and mmCIF files with OpenMM's readers, which silently drop atoms with duplicate names."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal

from openmm import app
from openmm.app.internal.pdbx.reader.PdbxReader import PdbxReader
from openmm.app.internal.pdbx.writer.PdbxWriter import PdbxWriter

from boltzflow.errors import FileFormatError
from boltzflow.molecules.readers.records import Chosen, Record, choose_records

_ATOM = ("ATOM  ", "HETATM")
_BETWEEN_MODELS = ("MODEL", "END")  # ENDMDL too; some programs write END alone
_CALLER = 7  # stack level of the caller of `MolecularSystem.from_pdb`, for warnings
_UNKNOWN = (".", "?", "")  # mmCIF's unknown values


class _Pdb:
    """The records of a PDB file's first model; writes the text of a selection of them."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.places: list[int] = []
        self.records: list[Record] = []
        self.models = chain = 0
        is_open = False
        for place, line in enumerate(self.lines):
            if line.startswith(_ATOM):
                self.models += not is_open
                is_open = True
                if self.models == 1:
                    self.places.append(place)
                    self.records.append(_pdb_record(line, chain))
            elif line.startswith(_BETWEEN_MODELS):
                is_open = False
            elif line.startswith("TER"):
                chain += 1

    def written(self, chosen: Chosen) -> str:
        kept = {self.places[i]: chosen.numbers.get(i) for i in chosen.records}
        lines = []
        for place, line in enumerate(self.lines):
            if place in kept:
                number = line[22:27] if kept[place] is None else f"{kept[place]:4d} "
                lines.append(f"{line[:16]} {line[17:22]}{number}{line[27:]}")
            elif line.startswith("CONECT") or (
                place < self.places[-1] and not line.startswith((*_ATOM, *_BETWEEN_MODELS))
            ):
                lines.append(line)
        return "\n".join([*lines, "END", ""])


def _pdb_record(line: str, chain: int) -> Record:
    try:
        occupancy = float(line[54:60])
    except ValueError:
        occupancy = 1.0
    name, location, residue = line[12:16].strip(), line[16:17].strip(), line[17:21].strip()
    return Record(f"{line[21:22]} {chain}", line[22:27], residue, name, location, occupancy)


class _Mmcif:
    """The records of an mmCIF file's first model; writes the text of a selection of them."""

    def __init__(self, text: str) -> None:
        self.blocks: list[Any] = []
        PdbxReader(io.StringIO(text)).read(self.blocks)
        self.atoms: Any = self.blocks[0].getObj("atom_site") if self.blocks else None
        rows = [] if self.atoms is None else self.atoms.getRowList()
        models = [self._value(row, "pdbx_PDB_model_num") for row in rows]
        self.models = len(set(models))
        self.rows = [row for row, model in zip(rows, models, strict=True) if model == models[0]]
        self.records = [self._record(row) for row in self.rows]

    def written(self, chosen: Chosen) -> str:
        number = self._column("auth_seq_id", "label_seq_id")
        if self._column("label_alt_id") < 0:  # if it is missing, OpenMM uses the last column instead
            self.atoms.appendAttributeExtendRows("label_alt_id")
        rows = []
        for i in chosen.records:
            row = self.rows[i]
            row[self._column("label_alt_id")] = "."
            if i in chosen.numbers:
                row[number] = str(chosen.numbers[i])
            rows.append(row)
        self.atoms.setRowList(rows)
        file = io.StringIO()
        PdbxWriter(file).write(self.blocks[:1])
        return file.getvalue()

    def _record(self, row: list[str]) -> Record:
        chain = f"{self._value(row, 'auth_asym_id')} {self._value(row, 'label_asym_id')}"
        number = self._value(row, "auth_seq_id", "label_seq_id") + self._value(row, "pdbx_PDB_ins_code")
        residue = self._value(row, "auth_comp_id", "label_comp_id")
        name = self._value(row, "auth_atom_id", "label_atom_id")
        try:
            occupancy = float(self._value(row, "occupancy"))
        except ValueError:
            occupancy = 1.0
        return Record(chain, number, residue, name, self._value(row, "label_alt_id"), occupancy)

    def _value(self, row: list[str], *names: str) -> str:
        """The value of the first of these columns that exists; empty if unknown."""
        column = self._column(*names)
        return "" if column < 0 or row[column] in _UNKNOWN else row[column]

    def _column(self, *names: str) -> int:
        return next((i for i in map(self.atoms.getAttributeIndex, names) if i >= 0), -1)


def read_structure(path: Path, kind: Literal["PDB", "mmCIF"]) -> app.PDBFile | app.PDBxFile:
    """Read the first model of a structure file, at the alternate locations of highest occupancy; warns of omissions.

    Raises:
        FileFormatError: if an atom name is repeated in a residue, or atoms are lost.
        Exception: any exception of OpenMM's reader.
    """
    text = path.read_text(encoding="utf-8", errors="replace")  # remarks may be in any encoding
    found = _Pdb(text) if kind == "PDB" else _Mmcif(text)
    if not found.records:
        raise ValueError("it has no atoms")
    chosen = choose_records(found.records, path)
    if found.models > 1:
        warnings.warn(f"{path} contains {found.models} models; the first one is read.", stacklevel=_CALLER)
    if chosen.alternates:
        listed = "; ".join(chosen.alternates[:3]) + ("; …" if len(chosen.alternates) > 3 else "")
        warnings.warn(
            f"{path} has alternate locations; the one with the highest occupancy is read for each residue: {listed}.",
            stacklevel=_CALLER,
        )
    file = io.StringIO(found.written(chosen))
    read = app.PDBFile(file) if kind == "PDB" else app.PDBxFile(file)
    if read.topology.getNumAtoms() != len(chosen.records):
        raise FileFormatError(
            f"Expected {len(chosen.records)} atoms in {path}; OpenMM's reader returned "
            f"{read.topology.getNumAtoms()}: give the atoms of each residue different names."
        )
    return read
