"""Some atoms of a molecule, by their indices or by a selection of mdtraj."""

from __future__ import annotations

from collections.abc import Sequence

import mdtraj

from boltzflow.errors import OptionError


def selected(topology: mdtraj.Topology, atoms: str | Sequence[int]) -> list[int]:
    """Indices of atoms, ascending.

    Raises:
        OptionError: if the selection is not one of mdtraj's, or an index is none of an atom's.
    """
    try:
        chosen = topology.select(atoms) if isinstance(atoms, str) else atoms
    except Exception as error:  # mdtraj's parser raises several
        raise OptionError(f"Expected a selection of mdtraj; got {atoms!r}: {error}.") from None
    found = sorted({int(atom) for atom in chosen})
    if found and not 0 <= found[0] <= found[-1] < topology.n_atoms:
        raise OptionError(f"Expected atoms from 0 to {topology.n_atoms - 1}; got {found[0]} to {found[-1]}.")
    return found
