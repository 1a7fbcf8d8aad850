"""Checks that positions match a topology: same atoms, same order, correct unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm.unit as u
from openmm import app

from boltzflow.errors import FileFormatError, ShapeError, TopologyError
from boltzflow.molecules.bonds import LONGEST, label, stretch_of_bonds, usual_length
from boltzflow.molecules.naming import standard_names

_GAP = 2.0  # longer distances are not bonds, in units of a bond's usual length
_STRAINED = 1.5  # longest bond in a model that was not minimised, if its atoms have no other long bond
_COINCIDENT = 0.3
_SCALE = (0.25, 4.0)  # range of the median; a factor of ten means that nm and Å were confused

Names = Sequence[tuple[str, str]]
"""The residue name and the atom name of each atom."""


def check_structure(topology: app.Topology, positions: u.Quantity, path: str | Path) -> None:
    """Check the bond lengths of a structure that is read from one file.

    Raises:
        FileFormatError: if all bonds are far too short or too long.
        TopologyError: if one bond is far too short or too long; names the atoms.
    """
    _check_bonds(topology, positions, path, None)


def check_positions(
    topology: app.Topology, positions: u.Quantity, names: Names | None, parameters: str | Path, path: str | Path
) -> None:
    """Check that the positions in one file belong to the atoms in another.

    Args:
        topology: from the file `parameters`.
        positions: from the file `path`.
        names: the names in the file `path`, if it has any.
        parameters: for messages.
        path: for messages.

    Raises:
        ShapeError: if the numbers of atoms differ.
        FileFormatError: if all bonds are far too short or too long.
        TopologyError: if the order of atoms or the molecule differs; names the first atom or bond that differs.
    """
    n = topology.getNumAtoms()
    if len(positions) != n:
        raise ShapeError(f"Expected positions of the {n} atoms of {parameters}; {path} has {len(positions)}.")
    if names is not None:
        _check_names(topology, names, parameters, path)
    _check_bonds(
        topology,
        positions,
        path,
        f"its order of atoms differs from {parameters}, it is another molecule, or a periodic box cuts the molecule",
    )


def _check_names(topology: app.Topology, names: Names, parameters: str | Path, path: str | Path) -> None:
    """Raise a TopologyError if the atoms or their order differ.

    Different programs use different atom names, so a different name alone is not an error. It is an error if the
    element differs (by the name's first letter), or if a residue, or the whole molecule, has the same names in another
    order.
    """
    atoms = list(topology.atoms())
    longest = max(len(atom) for _, atom in names)  # fixed-column formats truncate longer names
    here = [(atom.residue.name, atom.name[:longest].upper()) for atom in atoms]
    there = [(residue, atom.upper()) for residue, atom in (standard_names(*name) for name in names)]
    wrong = [i for i, (one, other) in enumerate(zip(here, there, strict=True)) if _initial(one) != _initial(other)]
    wrong += _moved(here, there)
    for residue in topology.residues():
        group = [atom.index for atom in residue.atoms()]
        wrong += [group[k] for k in _moved([here[i][1] for i in group], [there[i][1] for i in group])]
    if wrong:
        i = min(wrong)
        raise TopologyError(
            f"Expected the same order of atoms in {parameters} and {path}; atom {i + 1} is {label(atoms[i])} in the "
            f"first and {''.join(names[i][:1])}-{names[i][1]} in the second."
        )


def _moved(here: Sequence[Any], there: Sequence[Any]) -> list[int]:
    """The places where two lists with the same names in another order differ; empty if the names differ."""
    if sorted(here) != sorted(there):
        return []
    return [i for i, (one, other) in enumerate(zip(here, there, strict=True)) if one != other]


def _initial(name: tuple[str, str]) -> str:
    return name[1].lstrip("0123456789*'\"")[:1]


def _check_bonds(topology: app.Topology, positions: u.Quantity, path: str | Path, elsewhere: str | None) -> None:
    """Check the bond lengths; `elsewhere` is the probable error if the positions are from another file."""
    bonds, stretches = stretch_of_bonds(topology, np.asarray(positions.value_in_unit(u.nanometer), dtype=np.float64))
    if not bonds:
        return
    median = float(np.median(stretches))
    if not _SCALE[0] < median < _SCALE[1]:
        raise FileFormatError(
            f"Expected positions in {path} in the unit of its format; the median bond is {median:.2g} times as long as "
            "usual, as if nm and Å were confused."
        )
    if elsewhere is None:
        is_long = stretches > _GAP
    else:  # an atom at the position of another one is too far from each of its neighbours
        long = [(one.index, other.index) for (one, other), x in zip(bonds, stretches, strict=True) if x > LONGEST]
        count = Counter(atom for pair in long for atom in pair)
        is_long = (stretches > _STRAINED) | [
            x > LONGEST and max(count[one.index], count[other.index]) > 1
            for (one, other), x in zip(bonds, stretches, strict=True)
        ]
    wrong = np.flatnonzero(is_long | (stretches < _COINCIDENT))
    if len(wrong) == 0:
        return
    (one, other), stretch = bonds[wrong[0]], stretches[wrong[0]]
    where = f"{label(one)} and {label(other)} are {stretch * usual_length(one, other):.2f} nm apart in {path}"
    if stretch < _COINCIDENT:
        raise TopologyError(f"Expected bonded atoms within bonding distance; {where}: they coincide.")
    if elsewhere is None:
        elsewhere = (
            "residues between them are missing. Model the missing residues (PDBFixer), or cap the chain ends"
            if one.residue is not other.residue and app.element.hydrogen not in (one.element, other.element)
            else "one of them is misplaced. Correct its position, or delete the atom and have it added"
        )
    raise TopologyError(f"Expected bonded atoms within bonding distance; {where}: {elsewhere}.")
