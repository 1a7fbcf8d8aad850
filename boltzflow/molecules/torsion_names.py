"""The chemists' names of the torsions of amino acids and nucleotides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from mdtraj.geometry import dihedral as known

_OMEGA = [["CH3", "C", "+N", "+CA"], ["CA", "C", "+N", "+CH3"], ["CA", "C", "+N", "+C"], ["CH3", "C", "+N", "+CH3"]]
"""ω at caps, which mdtraj does not list."""

_ATOMS: dict[str, list[list[str]]] = {
    "phi": [known.PHI_ATOMS],
    "psi": [known.PSI_ATOMS],
    "omega": [known.OMEGA_ATOMS, *_OMEGA, ["CH3", "C", "+N", "+C"]],
    "chi1": known.CHI1_ATOMS,
    "chi2": known.CHI2_ATOMS,
    "chi3": known.CHI3_ATOMS,
    "chi4": known.CHI4_ATOMS,
    "chi5": known.CHI5_ATOMS,
    "alpha": [["-O3'", "P", "O5'", "C5'"]],
    "beta": [["P", "O5'", "C5'", "C4'"]],
    "gamma": [["O5'", "C5'", "C4'", "C3'"]],
    "epsilon": [["C4'", "C3'", "O3'", "+P"]],
    "zeta": [["C3'", "O3'", "+P", "+O5'"]],
    "chi": [["O4'", "C1'", "N9", "C4"], ["O4'", "C1'", "N1", "C2"]],
}
KINDS = tuple(_ATOMS)
"""In the order in which a residue's torsions are listed."""


class Site(NamedTuple):
    """An atom's name, and the index of its residue."""

    name: str
    residue: int


def conventional(
    sites: Sequence[Site], neighbours: Sequence[Sequence[int]], j: int, k: int
) -> tuple[str, tuple[int, int, int, int], int] | None:
    """The kind, the atoms and the index of the residue of a named torsion about the bond j–k; None if it has no name.

    The signs before names of atoms are mdtraj's: "-C" is in another residue than the atoms without a sign, which give
    the torsion its residue.
    """
    for (a, b), (kind, names) in product(((j, k), (k, j)), _BY_BOND.get(frozenset((sites[j].name, sites[k].name)), ())):
        for i, m in _ends(neighbours, a, b):
            four = (i, a, b, m)
            if [sites[atom].name for atom in four] != [name.lstrip("+-") for name in names]:
                continue
            own = {sites[atom].residue for atom, name in zip(four, names, strict=True) if name[0] not in "+-"}
            other = {sites[atom].residue for atom, name in zip(four, names, strict=True) if name[0] in "+-"}
            if len(own) == 1 and len(other) <= 1 and own.isdisjoint(other):
                return kind, four, own.pop()
    return None


def _ends(neighbours: Sequence[Sequence[int]], a: int, b: int) -> Iterator[tuple[int, int]]:
    return ((i, m) for i in neighbours[a] for m in neighbours[b] if i != b and m != a and i != m)


_BY_BOND: dict[frozenset[str], list[tuple[str, list[str]]]] = {}
for _kind, _all in _ATOMS.items():
    for _names in _all:
        _bond = frozenset(name.lstrip("+-") for name in _names[1:3])
        _BY_BOND.setdefault(_bond, []).append((_kind, _names))
