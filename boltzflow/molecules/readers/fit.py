"""Whether positions are those of a topology's atoms, in the same order and in nm."""

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

_GAP = 2.0  # from which on two atoms are not bonded, in units of a bond's usual length
_STRAINED = 1.5  # what a bond may be in a model that nothing has minimised, if it is the only long one of its atoms
_COINCIDENT = 0.3
_SCALE = (0.25, 4.0)  # of the median; ten times is a nanometre taken for an ångström or the other way round

Names = Sequence[tuple[str, str]]
"""Of the residue and of the atom, for each atom."""


def check_structure(topology: app.Topology, positions: u.Quantity, path: str | Path) -> None:
    """Check the bond lengths of a structure that is one file.

    Raises:
        FileFormatError: if all are far too short or too long.
        TopologyError: if one is; names the atoms.
    """
    _check_bonds(topology, positions, path, None)


def check_positions(
    topology: app.Topology, positions: u.Quantity, names: Names | None, parameters: str | Path, path: str | Path
) -> None:
    """Check that the positions of one file are those of the atoms of another.

    Args:
        topology: of the file `parameters`.
        positions: of the file `path`.
        names: which that file gives, if it gives any.
        parameters: for messages.
        path: for messages.

    Raises:
        ShapeError: if the numbers of atoms differ.
        FileFormatError: if all bonds are far too short or too long.
        TopologyError: if the order or the molecule is another; names the first atom, or the bond that shows it.
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
        f"it has another order of atoms than {parameters}, another molecule, or one that its box cuts",
    )


def _check_names(topology: app.Topology, names: Names, parameters: str | Path, path: str | Path) -> None:
    """Raise a TopologyError where the same atoms come in another order, or others.

    Programs call one atom by different names, so that other names alone say nothing. What does: another element, by
    the name's first letter, or the names of a residue, or of the whole, in another order.
    """
    atoms = list(topology.atoms())
    longest = max(len(atom) for _, atom in names)  # files with columns cut longer ones
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
            f"Expected the atoms of {parameters} in the same order in {path}; atom {i + 1} is {label(atoms[i])} there "
            f"and {''.join(names[i][:1])}-{names[i][1]} here."
        )


def _moved(here: Sequence[Any], there: Sequence[Any]) -> list[int]:
    """Where two lists differ that hold the same names."""
    if sorted(here) != sorted(there):
        return []
    return [i for i, (one, other) in enumerate(zip(here, there, strict=True)) if one != other]


def _initial(name: tuple[str, str]) -> str:
    return name[1].lstrip("0123456789*'\"")[:1]


def _check_bonds(topology: app.Topology, positions: u.Quantity, path: str | Path, elsewhere: str | None) -> None:
    """elsewhere: what may be wrong with positions that come from another file than the topology."""
    bonds, stretches = stretch_of_bonds(topology, np.asarray(positions.value_in_unit(u.nanometer), dtype=np.float64))
    if not bonds:
        return
    median = float(np.median(stretches))
    if not _SCALE[0] < median < _SCALE[1]:
        raise FileFormatError(
            f"Expected positions in {path} in the unit of its format; its bonds are {median:.2g} times as long as "
            "bonds are (in the median), as where nm are taken for Å or Å for nm."
        )
    if elsewhere is None:
        is_long = stretches > _GAP
    else:  # an atom in another's place is too far from each of its neighbours
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
        raise TopologyError(f"Expected bonded atoms a bond's length apart; {where}: they coincide.")
    if elsewhere is None:
        elsewhere = (
            "residues between them are missing. Model them (PDBFixer), or let the chain end there with caps of its own"
            if one.residue is not other.residue and app.element.hydrogen not in (one.element, other.element)
            else "one of them is out of place. Correct its position, or leave it out and have it added"
        )
    raise TopologyError(f"Expected bonded atoms side by side; {where}: {elsewhere}.")
