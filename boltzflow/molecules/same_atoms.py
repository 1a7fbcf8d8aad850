"""Checks that two molecules have the same atoms."""

from __future__ import annotations

import mdtraj

from boltzflow.errors import ShapeError


def check_same_atoms(ours: mdtraj.Topology, theirs: mdtraj.Topology, what: str, of: str) -> None:
    """Check that two molecules have the same elements in the same order.

    Args:
        ours, theirs: the expected molecule, and that of `what`.
        what: a description for messages, such as "a reference".
        of: the owner of the expected molecule, for messages.

    Raises:
        ShapeError: if they differ; names the first difference.
    """
    if ours.n_atoms != theirs.n_atoms:
        raise ShapeError(f"Expected {what} of the same molecule as {of}, {ours.n_atoms} atoms; got {theirs.n_atoms}.")
    for i, (one, other) in enumerate(zip(ours.atoms, theirs.atoms, strict=True)):
        if one.element != other.element:
            raise ShapeError(
                f"Expected {what} with the atoms of {of} in the same order; atom {i} should be "
                f"{one.element.symbol} but is {other.element.symbol}."
            )
