"""Selects the atoms to read from a structure file with alternate locations or repeated residue numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import NamedTuple

from boltzflow.errors import FileFormatError


class Record(NamedTuple):
    """The entries of a structure file for one atom, except its position."""

    chain: str
    number: str  # of the residue, with its insertion code
    residue: str
    atom: str
    location: str  # alternate location; empty if there is only one
    occupancy: float


class Chosen(NamedTuple):
    """The records to read.

    Attributes:
        records: their indices, ascending.
        numbers: new residue numbers, by record, for residues with the same number as the one before.
        alternates: for each residue with alternate locations, which one was chosen.
    """

    records: list[int]
    numbers: dict[int, int]
    alternates: list[str]


def choose_records(records: Sequence[Record], path: Path) -> Chosen:
    """Choose one location for each atom, that of highest occupancy in its residue, and a number for each residue.

    Consecutive identical molecules with the same residue number, such as waters in many files, are distinguished by
    their atom names: each repeats all names of the first.

    Raises:
        FileFormatError: if an atom name is repeated in a residue for any other reason; names both.
    """
    chosen, numbers, alternates = list[int](), dict[int, int](), list[str]()
    free: dict[str, Iterator[int]] = {}
    for (chain, number), group in groupby(range(len(records)), lambda i: records[i][:2]):
        kept, taken = _most_occupied(records, list(group))
        if taken:
            alternates.append(f"{records[kept[0]].residue} {number.strip()}: {taken}")
        for _, residue in groupby(kept, lambda i: records[i].residue):
            first, *others = _molecules(records, list(residue), path)
            chosen += first
            if others:
                free.setdefault(chain, _unused(records, chain))
            for other in others:
                chosen += other
                numbers |= dict.fromkeys(other, next(free[chain]))
    return Chosen(chosen, numbers, alternates)


def _unused(records: Sequence[Record], chain: str) -> Iterator[int]:
    """The residue numbers from 1 that are unused in a chain."""
    used = {record.number.strip() for record in records if record.chain == chain}
    return (number for number in count(1) if str(number) not in used)


def _most_occupied(records: Sequence[Record], residue: list[int]) -> tuple[list[int], str]:
    """The records of a residue's location of highest occupancy, those with a single location, and a description."""
    places: dict[str, set[str]] = {}
    for i in residue:
        places.setdefault(records[i].atom, set()).add(records[i].location)
    several = [i for i in residue if len(places[records[i].atom]) > 1]
    occupancies: dict[str, list[float]] = {}
    for i in several or residue:
        if several or records[i].location:
            occupancies.setdefault(records[i].location, []).append(records[i].occupancy)
    if len(occupancies) < 2:
        return residue, ""
    mean = {location: sum(values) / len(values) for location, values in occupancies.items()}
    best = max(mean, key=mean.__getitem__)
    left = [
        i
        for i in residue
        if records[i].location == best or (not records[i].location and best not in places[records[i].atom])
    ]
    return left, f"{best or 'the one without a letter'}, occupancy {mean[best]:.2g}"


def _molecules(records: Sequence[Record], residue: list[int], path: Path) -> list[list[int]]:
    """The records of a residue, or of each molecule if several molecules have the same residue number."""
    names = [records[i].atom for i in residue]
    starts = [k for k, name in enumerate(names) if name == names[0]]
    parts = [residue[start:end] for start, end in zip(starts, [*starts[1:], len(residue)], strict=True)]
    kinds = [sorted(records[i].atom for i in part) for part in parts]
    if len(set(kinds[0])) == len(kinds[0]) and all(kind == kinds[0] for kind in kinds):
        return parts
    double = next(i for k, i in enumerate(residue) if records[i].atom in names[:k])
    raise FileFormatError(
        f"Expected unique names for the atoms of a residue; {records[double].atom} appears twice in "
        f"{records[double].residue} {records[double].number.strip()} of {path}."
    )
