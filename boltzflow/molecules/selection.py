"""Selects atoms of a molecule, by indices or with mdtraj's selection language."""

from __future__ import annotations

from collections.abc import Sequence

import mdtraj

from boltzflow.errors import OptionError


def selected(topology: mdtraj.Topology, atoms: str | Sequence[int]) -> list[int]:
    """The indices of the selected atoms, ascending.

    Raises:
        OptionError: if mdtraj cannot parse the selection, or an index is out of range.
    """
    try:
        chosen = topology.select(atoms) if isinstance(atoms, str) else atoms
    except Exception as error:  # mdtraj's parser raises several types
        raise OptionError(f"Expected an mdtraj selection; got {atoms!r}: {error}.") from None
    found = sorted({int(atom) for atom in chosen})
    if found and not 0 <= found[0] <= found[-1] < topology.n_atoms:
        raise OptionError(f"Expected atom indices from 0 to {topology.n_atoms - 1}; got {found[0]} to {found[-1]}.")
    return found
