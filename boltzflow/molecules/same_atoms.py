"""Whether two molecules can be the same."""

from __future__ import annotations

import mdtraj

from boltzflow.errors import ShapeError


def check_same_atoms(ours: mdtraj.Topology, theirs: mdtraj.Topology, what: str, of: str) -> None:
    """Raise unless two molecules have the same elements in the same order.

    Args:
        ours, theirs: the molecule meant, and that of `what`.
        what: such as "a reference".
        of: whose molecule is meant.

    Raises:
        ShapeError: saying where they differ.
    """
    if ours.n_atoms != theirs.n_atoms:
        raise ShapeError(f"Expected {what} of the same molecule as {of}, {ours.n_atoms} atoms; got {theirs.n_atoms}.")
    for i, (one, other) in enumerate(zip(ours.atoms, theirs.atoms, strict=True)):
        if one.element != other.element:
            raise ShapeError(
                f"Expected {what} whose atoms are in the same order as those of {of}; atom {i} is "
                f"{one.element.symbol} there and {other.element.symbol} here."
            )
