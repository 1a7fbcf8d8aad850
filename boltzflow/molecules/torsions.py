"""The torsions of a molecule by name: those about rotatable bonds, and those of flexible rings."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import mdtraj
import torch
from torch import Tensor

from boltzflow.coordinates.automorphisms import atom_classes
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.geometry import dihedral
from boltzflow.errors import ShapeError
from boltzflow.molecules.hybridization import Hybridization
from boltzflow.molecules.naming import residue_names
from boltzflow.molecules.system import MolecularSystem
from boltzflow.molecules.torsion_names import KINDS, Site, conventional

_WIDE_RING = 9  # atoms: bonds of smaller rings are not rotatable
_HYDROGEN = 1


@dataclass(frozen=True)
class NamedTorsion:
    """A torsion with a name.

    Attributes:
        name: such as "phi ALA2", "chi1 VAL2" or "torsion C1 C2 C3 C4".
        atoms: four atoms.
        folds: the number of equivalent values on the circle: 2 for the plane of a phenyl or a carboxylate, whose
            halves have the same atoms, otherwise 1.
        staggered: whether both central atoms are tetrahedral, so that rotamers are gauche or trans.
        in_ring: whether its central bond is part of a small ring.
    """

    name: str
    atoms: tuple[int, ...]
    folds: int = 1
    staggered: bool = False
    in_ring: bool = False

    @property
    def kind(self) -> str:
        """The first word of the name, such as "phi" or "torsion"."""
        return self.name.partition(" ")[0]

    @property
    def place(self) -> str:
        """The rest of the name: a residue, such as "ALA2", or four atoms."""
        return self.name.partition(" ")[2]


def rotatable_torsions(molecule: MolecularSystem | mdtraj.Topology) -> list[NamedTorsion]:
    """One torsion about each rotatable bond, residue by residue, those with a chemist's name first.

    - Amino acids have φ, ψ, ω and χ1 to χ5 with mdtraj's atoms. ω belongs to the bond from C to the next residue's N,
      and has the name of the residue of C (IUPAC-IUB 1970), also at caps. φ of proline is listed, although in a ring.
    - Nucleotides have α, β, γ, ε, ζ and χ (δ is in the ring).
    - Any other bond between two atoms that have further neighbours is named by its atoms: those of highest atomic
      number at both ends; hydrogens only if there is no other, as in a hydroxyl group.

    Left out are bonds of rings of up to 8 atoms; rotors of three alike branches (methyl, CF₃, NH₃⁺, tert-butyl) and
    planar NH₂ and CH₂, whose rotamers are equivalent; and bonds to linear groups, such as nitriles, which have no
    torsion. Double bonds and amides are listed: they have one state unless both occur.

    >>> import boltzflow as bf
    >>> [torsion.name for torsion in rotatable_torsions(bf.load_system("alanine_dipeptide"))]
    ['omega ACE1', 'phi ALA2', 'psi ALA2', 'omega ALA2']
    """
    return [torsion for torsion in named_torsions(molecule) if not torsion.in_ring or torsion.kind == "phi"]


def named_torsions(molecule: MolecularSystem | mdtraj.Topology) -> list[NamedTorsion]:
    """The torsions that distinguish conformations: those of `rotatable_torsions`, and of flexible rings.

    >>> import boltzflow as bf
    >>> [torsion.name for torsion in named_torsions(bf.load_system("cyclohexane"))][0]
    'torsion C6 C1 C2 C3'
    """
    topology = molecule if isinstance(molecule, mdtraj.Topology) else molecule.mdtraj_topology
    return _Torsions(topology).found()


def torsion_values(positions: Tensor, torsions: list[NamedTorsion]) -> Tensor:
    """Torsion angles of positions (batch, N, 3) → (batch, K) in rad.

    Raises:
        ShapeError: if the positions have another shape, or too few atoms.
    """
    most = max((atom for torsion in torsions for atom in torsion.atoms), default=-1)
    if positions.dim() != 3 or positions.shape[2] != 3 or positions.shape[1] <= most:
        raise ShapeError(f"Expected positions (batch, N, 3) in nm, N > {most}; got {tuple(positions.shape)}.")
    if not torsions:
        return positions.new_zeros(len(positions), 0)
    atoms = torch.tensor([torsion.atoms for torsion in torsions], device=positions.device)
    i, j, k, m = positions[:, atoms].unbind(2)
    return dihedral(i, j, k, m)


class _Torsions:
    """The search for the torsions of one topology."""

    def __init__(self, topology: mdtraj.Topology) -> None:
        atoms, self.residues = list(topology.atoms), residue_names(topology)
        self.sites = [Site(atom.name, atom.residue.index) for atom in atoms]
        numbers = [atom.element.number if atom.element is not None else 0 for atom in atoms]
        bonds = ((bond.atom1.index, bond.atom2.index) for bond in topology.bonds)
        self.graph = BondGraph(bonds, numbers, [atom.name for atom in atoms])
        self.shape = Hybridization(self.graph)

    def found(self) -> list[NamedTorsion]:
        torsions = [torsion for bond in self.graph.bonds if (torsion := self._about(*bond)) is not None]
        torsions.sort(key=self._order)
        names = Counter(torsion.name for torsion in torsions)
        return [
            # Names of atoms need not be unique; those of torsions are keys.
            replace(torsion, name=f"{torsion.name} {list(torsion.atoms)}") if names[torsion.name] > 1 else torsion
            for torsion in torsions
        ]

    def _about(self, a: int, b: int) -> NamedTorsion | None:
        """The torsion about a bond; None if it is rigid, or its rotamers are equivalent."""
        j, k = sorted((a, b), key=self._rank)
        ring = self.graph.ring(j, k) if frozenset((j, k)) in self._ring_bonds else ()
        in_ring = 0 < len(ring) < _WIDE_RING
        if not in_ring and any(self._is_uninformative(end, other) for end, other in ((j, k), (k, j))):
            return None
        known = conventional(self.sites, self.graph.neighbours, j, k)
        if known is not None:
            kind, four, residue = known
            name = f"{kind} {self.residues[residue]}"
        else:
            four = (ring[1], j, k, ring[-2]) if len(ring) > 3 and in_ring else (self._end(j, k), j, k, self._end(k, j))
            name = f"torsion {' '.join(map(self._named, four))}"
        if in_ring and not self.graph.changes_pucker(four):
            return None
        folds = 2 if not in_ring and (self._is_two_sided(j, k) or self._is_two_sided(k, j)) else 1
        tetrahedral = all(map(self.shape.is_tetrahedral, (j, k)))
        four_bonds = any(len(self.graph.neighbours[atom]) == 4 for atom in (j, k))
        return NamedTorsion(name, four, folds, tetrahedral and four_bonds, in_ring)

    def _is_uninformative(self, end: int, other: int) -> bool:
        """Whether a torsion has no meaning (a linear or terminal end), or only equivalent rotamers."""
        outer = [atom for atom in self.graph.neighbours[end] if atom != other]
        if not outer or self.shape.is_linear(end):
            return True
        if len({self._classes[atom] for atom in outer}) > 1:
            return False
        hydrogens = all(self.graph.numbers[atom] == _HYDROGEN for atom in outer)
        return len(outer) == 3 or (len(outer) == 2 and hydrogens and self.shape.is_planar(end))

    def _is_two_sided(self, end: int, other: int) -> bool:
        """Whether half a turn exchanges equivalent atoms."""
        outer = [atom for atom in self.graph.neighbours[end] if atom != other]
        return self.shape.is_planar(end) and len({self._classes[atom] for atom in outer}) == 1

    def _end(self, atom: int, other: int) -> int:
        """The outer atom of a torsion: that of highest atomic number, then the first by its name."""
        outer: list[int] = [x for x in self.graph.neighbours[atom] if x != other]
        return min(outer, key=lambda x: (-self.graph.numbers[x], self._rank(x)))

    def _rank(self, atom: int) -> tuple[int, list[str | int], int]:
        """Sorts atoms by residue and name; by index only if these are the same."""
        name, residue = self.sites[atom]
        return residue, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)], atom

    def _order(self, torsion: NamedTorsion) -> tuple[object, ...]:
        if torsion.kind in KINDS:
            residue = self.residues.index(torsion.place)
            return residue, KINDS.index(torsion.kind), ()
        return self.sites[torsion.atoms[1]].residue, len(KINDS), tuple(map(self._rank, torsion.atoms[1:3]))

    def _named(self, atom: int) -> str:
        name, residue = self.sites[atom]
        return name if len(self.residues) == 1 else f"{self.residues[residue]}-{name}"

    @cached_property
    def _ring_bonds(self) -> frozenset[frozenset[int]]:
        return self.graph.ring_bonds

    @cached_property
    def _classes(self) -> list[int]:
        """A number for each atom, the same for equivalent atoms."""
        return atom_classes(self.graph.neighbours, self.graph.numbers)
