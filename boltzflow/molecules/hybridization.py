"""The shape of an atom's surroundings, as far as elements and numbers of bonds tell."""

from __future__ import annotations

from boltzflow.coordinates.bond_graph import BondGraph

_HYDROGEN, _BORON, _CARBON, _NITROGEN, _OXYGEN, _PHOSPHORUS, _SULFUR, _SELENIUM = 1, 5, 6, 7, 8, 15, 16, 34


class Hybridization:
    """Which atoms are linear, planar or tetrahedral, from the bond graph alone: bond orders are not known.

    A carbon with two neighbours is linear only in molecules with hydrogens: in united-atom models it may be a CH₂.

    Args:
        graph: the bonds and elements.

    >>> ethene = BondGraph([(0, 1), (0, 2), (0, 3), (1, 4), (1, 5)], [6, 6, 1, 1, 1, 1], list("CCHHHH"))
    >>> Hybridization(ethene).is_planar(0), Hybridization(ethene).is_tetrahedral(0)
    (True, False)
    """

    def __init__(self, graph: BondGraph) -> None:
        self.graph = graph
        self._has_hydrogens = _HYDROGEN in graph.numbers

    def is_linear(self, atom: int) -> bool:
        """Whether two neighbours lie opposite each other: alkynes, nitriles, isonitriles, azides."""
        number, linked = self.graph.numbers[atom], self.graph.neighbours[atom]
        if len(linked) != 2 or not self._has_hydrogens:
            return False
        terminal = {self.graph.numbers[other] for other in linked if len(self.graph.neighbours[other]) == 1}
        return number == _CARBON or (number == _NITROGEN and bool(terminal & {_CARBON, _NITROGEN}))

    def is_planar(self, atom: int) -> bool:
        """Whether three neighbours lie in a plane with the atom: sp² carbon, boron, nitrogen beside one or in NO₂."""
        number, linked = self.graph.numbers[atom], self.graph.neighbours[atom]
        if len(linked) != 3:
            return False
        oxides = sum(self.graph.numbers[x] == _OXYGEN and len(self.graph.neighbours[x]) == 1 for x in linked)
        conjugated = oxides == 2 or any(map(self.is_unsaturated, linked))
        return number in (_BORON, _CARBON) or (number == _NITROGEN and conjugated)

    def is_unsaturated(self, atom: int) -> bool:
        """Whether the atom has a double or triple bond or an empty orbital to conjugate with."""
        number, bonds = self.graph.numbers[atom], len(self.graph.neighbours[atom])
        if not self._has_hydrogens:
            return False
        return (number in (_BORON, _CARBON) and bonds in (2, 3)) or (number == _NITROGEN and bonds == 2)

    def is_tetrahedral(self, atom: int) -> bool:
        """Whether neighbours and lone pairs point to the corners of a tetrahedron.

        Oxygen and sulfur beside an unsaturated atom (esters, phenols) are conjugated and do not count.
        """
        number, linked = self.graph.numbers[atom], self.graph.neighbours[atom]
        if len(linked) == 2:
            chalcogen = number in (_OXYGEN, _SULFUR, _SELENIUM)
            return chalcogen and not any(map(self.is_unsaturated, linked))
        if len(linked) == 3:
            return number in (_NITROGEN, _PHOSPHORUS, _SULFUR) and not self.is_planar(atom)
        return len(linked) == 4
