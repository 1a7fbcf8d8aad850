"""Hydrogen bonds within a molecule, and their populations."""

from __future__ import annotations

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.analysis.estimates.observables import Labelled, label_bonds, meets_baker_hubbard
from boltzflow.analysis.estimates.populations import Population, population_of
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError

_HYDROGEN, _NITROGEN, _OXYGEN, _FLUORINE, _SULFUR = 1, 7, 8, 9, 16
_DONORS = {_NITROGEN, _OXYGEN, _SULFUR}
_MOST_NEIGHBOURS = {_NITROGEN: 3, _OXYGEN: 2, _FLUORINE: 1, _SULFUR: 2}
"""Acceptors, with the largest number of neighbours that leaves a lone pair."""


def intramolecular_hydrogen_bonds(trajectory: mdtraj.Trajectory, fewest_bonds: int = 4) -> Labelled:
    """Whether each hydrogen bond within a molecule is formed, for all bonds that occur in any frame.

    The criterion is that of Baker & Hubbard (1984, DOI 10.1016/0079-6107(84)90007-5): the hydrogen–acceptor distance is
    below 0.25 nm, and the angle donor–hydrogen–acceptor exceeds 120°. Donors are N–H, O–H and S–H. Acceptors are N, O,
    F and S, except N with four neighbours and S with more than two, which have no lone pair to accept with. The
    criterion was made for N and O; it misses long hydrogen bonds to sulfur.

    `hydrogen_bonds` is for N and O only, includes bonds between molecules, and any number of bonds between donor and
    acceptor.

    Args:
        trajectory: n frames, whose topology has bonds.
        fewest_bonds: between donor and acceptor along the shortest path. With 4, the ring that the hydrogen bond closes
            has at least six members. Contacts that close smaller rings, such as those of vicinal diols (3 bonds), are
            imposed by the covalent structure and are left out.

    Returns:
        Names such as "ALA4-N-H → ACE1-O", values (n, bonds) booleans.

    Raises:
        OptionError: if `fewest_bonds` is less than 2.

    >>> import boltzflow as bf
    >>> system = bf.load_system("ala3")
    >>> one = mdtraj.Trajectory(system.positions, system.mdtraj_topology)
    >>> intramolecular_hydrogen_bonds(one).values.dtype
    dtype('bool')
    """
    if fewest_bonds < 2:
        raise OptionError(f"Expected at least 2 bonds between donor and acceptor; got {fewest_bonds}.")
    triplets = _candidates(trajectory.topology, fewest_bonds)
    formed = meets_baker_hubbard(trajectory, triplets)
    occurs = formed.any(0)
    return Labelled(label_bonds(trajectory.topology, triplets[occurs]), formed[:, occurs])


def hydrogen_bond_populations(
    ensemble: Ensemble, fewest_bonds: int = 4, smallest: float = 0.01
) -> dict[str, Population]:
    """The populations of the hydrogen bonds within a molecule, with errors and verdicts, the most populated first.

    Args:
        ensemble: with a topology.
        fewest_bonds: see `intramolecular_hydrogen_bonds`, which has the criterion.
        smallest: hydrogen bonds with a smaller population are left out.

    Raises:
        DataError: if the ensemble has no topology.
        OptionError: if `fewest_bonds` is less than 2.
        NonFiniteError: if no weight is positive.

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> hydrogen_bond_populations(Ensemble(system.positions[None], [0.0], 300.0, topology=system.mdtraj_topology))
    {}
    """
    used = ensemble[ensemble.weights > 0]
    names, formed = intramolecular_hydrogen_bonds(used.to_mdtraj(), fewest_bonds)
    found = {name: population_of(used, there) for name, there in zip(names, formed.T, strict=True)}
    listed = [item for item in found.items() if item[1].value >= smallest]
    return dict(sorted(listed, key=lambda item: -item[1].value))


def _candidates(topology: mdtraj.Topology, fewest_bonds: int) -> NDArray[np.int64]:
    """Donor, hydrogen and acceptor of every possible hydrogen bond within a molecule, (k, 3)."""
    numbers = [0 if atom.element is None else atom.element.number for atom in topology.atoms]
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds]
    graph = BondGraph(bonds, numbers, [atom.name for atom in topology.atoms])
    found = []
    for donor in (atom for atom, number in enumerate(numbers) if number in _DONORS):
        hydrogens = [atom for atom in graph.neighbours[donor] if numbers[atom] == _HYDROGEN]
        if hydrogens:
            apart = graph.distances(donor)
            found += [
                (donor, hydrogen, acceptor)
                for acceptor, bonds_between in sorted(apart.items())
                if bonds_between >= fewest_bonds
                and len(graph.neighbours[acceptor]) <= _MOST_NEIGHBOURS.get(numbers[acceptor], -1)
                for hydrogen in hydrogens
            ]
    return np.array(found, np.int64).reshape(-1, 3)
