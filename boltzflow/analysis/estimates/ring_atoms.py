"""Rings of five and six atoms, found in the bond graph, with their atoms in a canonical order."""

from __future__ import annotations

import re
from typing import NamedTuple

import mdtraj
import networkx

from boltzflow.molecules.naming import residue_names

_SIZES = (5, 6)


class Ring(NamedTuple):
    """A ring of five or six atoms.

    The first atom has the highest atomic number (the oxygen of a sugar). The second is one of its neighbours in the
    ring, and the others follow around the ring. Ties are broken by the atoms' names (C2 before C10), then by index. In
    a sugar the order is therefore O5, C1, C2, C3, C4, C5 or O4', C1', C2', C3', C4', as in Cremer and Pople's work; in
    proline it is N, CA, CB, CG, CD.

    Attributes:
        name: such as "PRO2 N-CA-CB-CG-CD".
        atoms: indices in the canonical order.
        atom_names: in the same order.
        first_carbon: the locant of the second atom if the ring is a pyranose or furanose by the names of its atoms
            (1 in aldoses, 2 in ketoses), else None.
    """

    name: str
    atoms: tuple[int, ...]
    atom_names: tuple[str, ...]
    first_carbon: int | None


def rings(topology: mdtraj.Topology) -> list[Ring]:
    """The rings of five and six atoms of a minimum cycle basis of the bond graph, by the index of their lowest atom.

    A minimum cycle basis holds every ring of fused and spiro ring systems. Of a cage it holds as many of the smallest
    rings as are independent: the two rings of five atoms of norbornane, and not its ring of six.

    >>> import boltzflow as bf
    >>> [ring.name for ring in rings(bf.load_system("cyclohexane").mdtraj_topology)]
    ['CHX1 C1-C2-C3-C4-C5-C6']
    """
    graph = networkx.Graph([(bond.atom1.index, bond.atom2.index) for bond in topology.bonds])
    parts = [graph.subgraph(part) for part in networkx.biconnected_components(graph) if len(part) > 2]
    cycles = [sorted(cycle) for part in parts for cycle in networkx.minimum_cycle_basis(part)]
    return [_ring(topology, graph, cycle) for cycle in sorted(cycles) if len(cycle) in _SIZES]


def _ring(topology: mdtraj.Topology, graph: networkx.Graph, cycle: list[int]) -> Ring:
    atoms = [topology.atom(index) for index in range(topology.n_atoms)]

    def rank(index: int) -> tuple[object, ...]:
        number = 0 if atoms[index].element is None else atoms[index].element.number
        return -number, _natural(atoms[index].name), index

    start = min(cycle, key=rank)
    order = [start, min(set(graph[start]) & set(cycle), key=rank)]
    while len(order) < len(cycle):
        order += set(graph[order[-1]]) & set(cycle) - {order[-2]}
    names = tuple(atoms[index].name for index in order)
    residues = residue_names(topology)
    homes = [residues[atoms[index].residue.index] for index in order]
    if len(set(homes)) == 1:
        name = f"{homes[0]} {'-'.join(names)}"
    else:
        name = " ".join(f"{home}-{atom}" for home, atom in zip(homes, names, strict=True))
    return Ring(name, tuple(order), names, _first_carbon(names))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which C2 comes before C10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _first_carbon(names: tuple[str, ...]) -> int | None:
    """The locant i of the second atom, if the names are those of a sugar: O(i+4), C(i), …, C(i+4), or one less."""
    found = [re.fullmatch(r"([CO])(\d)('?)", name) for name in names]
    if not all(found) or len({match[3] for match in found if match}) > 1:
        return None
    read = [(match[1], int(match[2])) for match in found if match]
    first = read[1][1]
    carbons = [("C", first + step) for step in range(len(names) - 1)]
    return first if read == [("O", first + len(names) - 2), *carbons] else None
