"""Permutations of equivalent atoms: which there are, which a generator's coordinates hold, and what log Z counts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.automorphisms import Permutation, generators
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.energies import Potential
from boltzflow.errors import ShapeError, TopologyError

_LARGEST = 50_000  # permutations of a factor
_NOISE = 0.005  # nm, by which the structure is disturbed before energies of permuted ones are compared
_SAME = 1e-9  # of the energy's size
_POINTS = 16  # structures, permuted to see whether they stay in the domain
_UNDECIDED = 0.1  # of them
_AT_ONCE = 1024  # structures
_SHOWN = 12  # atoms, in print


@dataclass(frozen=True)
class Factor:
    """A group of permutations that move some atoms among themselves and no other atom.

    Attributes:
        atoms: those that are moved, k of them, ascending.
        names: of these atoms.
        elements: (order, k), whose positions the atoms take; the first is the identity.
    """

    atoms: tuple[int, ...]
    names: tuple[str, ...]
    elements: NDArray[np.int64]

    @property
    def order(self) -> int:
        """The number of permutations."""
        return len(self.elements)

    def __str__(self) -> str:
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        return f"{'/'.join(self.names[:_SHOWN])}{more}: {self.order} permutations"


@dataclass(frozen=True)
class Symmetry:
    """All permutations of atoms that leave every energy unchanged, as a product of small groups.

    They are the automorphisms of the bond graph (elements and masses kept) under which the energy of a disturbed
    structure stays, to rounding. Exchanging equivalent hydrogens, oxygens of a carboxylate, halves of a phenyl ring or
    of a molecule, or whole identical molecules belong to them; mirror images do not.

    Copies are counted by structures near the reference. Of three and more identical molecules, whose distances from the
    first are bounded, copies of a domain overlap in part.

    Attributes:
        factors: groups that move different atoms.
        broken: groups that keep the bonds but not all energies, with the largest difference, kJ/mol, at a structure
            disturbed by 0.005 nm. Force fields whose improper torsions ask for the order of atoms, as Amber's do,
            break the flips of carboxylates and phenyl rings: by little, yet copies then have weights of their own.
        reference: a structure (N, 3), nm.
    """

    factors: tuple[Factor, ...]
    broken: tuple[tuple[Factor, float], ...]
    reference: Tensor

    @cached_property
    def order(self) -> int:
        """The number of permutations."""
        return math.prod(factor.order for factor in self.factors)

    def __str__(self) -> str:
        lines = [f"{self.order} permutations", *(f"  {factor}" for factor in self.factors)]
        for factor, difference in self.broken:
            names = str(factor).split(":")[0]
            lines.append(
                f"  not {names}, fully: the energy tells some of these permutations by {difference:.2g} kJ/mol"
            )
        return "\n".join(lines)

    def copies(self, coordinates: MolecularCoordinates) -> Copies:
        """How often the domain of some coordinates fits into the space of all labelled structures.

        Raises:
            ShapeError: if the coordinates are those of another molecule.
            TopologyError: if the domain and its copy under a permutation overlap in part: nothing can be counted.
        """
        atoms = coordinates.data_domain.shape[0]
        if atoms != len(self.reference):
            raise ShapeError(f"Expected coordinates of {len(self.reference)} atoms; got those of {atoms}.")
        points = _disturbed(coordinates, self.reference)
        return Copies(coordinates, tuple(_representatives(factor, coordinates, points) for factor in self.factors))


@dataclass(frozen=True)
class Copies:
    """The copies of a domain under permutations of equivalent atoms.

    Attributes:
        coordinates: whose domain it is.
        factors: for each factor of the symmetry one permutation for each copy, the first the identity.
    """

    coordinates: MolecularCoordinates
    factors: tuple[Factor, ...]

    @cached_property
    def number(self) -> int:
        """The number of copies: all labelled structures are so many times those of the domain."""
        return math.prod(factor.order for factor in self.factors)

    @property
    def log_number(self) -> float:
        """What log Z over all labelled structures exceeds that over the domain by."""
        return math.log(self.number)

    def __str__(self) -> str:
        several = [factor for factor in self.factors if factor.order > 1]
        lines = [f"  {str(factor).removesuffix(' permutations')} copies" for factor in several]
        return "\n".join([f"{self.number} copies of the domain", *lines])

    @torch.no_grad()
    def fold(self, positions: Any) -> tuple[Tensor, Tensor]:
        """Frames with their atoms permuted so that they lie in the domain.

        Args:
            positions: (n, N, 3) in nm, from anywhere, such as a simulation in which labels exchange.

        Returns:
            Positions (n, N, 3), and whether each frame lies in the domain now (n,); one for which no permutation
            does (another enantiomer, or beyond bounds) is returned as it came.

        Raises:
            ShapeError: if the frames are of another molecule.
        """
        frames = torch.as_tensor(positions)
        self.coordinates.data_domain.check(frames, "fold")
        folded = frames.clone()
        left = ~_is_inside(self.coordinates, frames)
        for factor in self.factors:
            index = left.nonzero()[:, 0]
            if factor.order == 1 or len(index) == 0:
                continue
            candidates = torch.stack([_permuted(folded[index], factor, e) for e in factor.elements], 1)
            outside = _violations(self.coordinates, candidates.flatten(0, 1)).view(len(index), -1)
            best = outside.argmin(1)  # the first of the best: the identity, where nothing is better
            folded[index] = candidates[torch.arange(len(index)), best]
        inside = _is_inside(self.coordinates, folded)
        return torch.where(inside[:, None, None], folded, frames), inside

    def unfold(self, positions: Any, seed: int) -> NDArray[np.floating[Any]]:
        """Frames of the domain (n, N, 3), each moved to one of the copies at random, all equally likely."""
        moved = np.array(np.asarray(positions))
        random = np.random.default_rng(seed)
        for factor in self.factors:
            # Undoing what folds a copy leads there.
            chosen = factor.elements[random.integers(factor.order, size=len(moved))]
            np.put_along_axis(moved, chosen[:, :, None], moved[:, list(factor.atoms)], 1)
        return moved


def find_symmetry(
    graph: BondGraph,
    masses: Sequence[float],
    frozen: Collection[int],
    potential: Potential,
    positions: Tensor,
) -> Symmetry:
    """The permutations of equivalent atoms that leave every energy unchanged.

    Args:
        graph: the bonds; only atoms of one element and one mass are exchanged.
        masses: in dalton.
        frozen: atoms that stay in their places, and are like no others.
        potential: the judge.
        positions: a structure (N, 3), nm.
    """
    names, places = graph.names, [i if i in frozen else -1 for i in range(len(graph.names))]
    colours = list(zip(graph.numbers, masses, places, strict=True))
    random = torch.Generator().manual_seed(0)
    disturbed = positions.double() + _NOISE * torch.randn(positions.shape, dtype=torch.float64, generator=random)
    factors, broken = [], []
    for group in _separate(generators(graph.neighbours, colours)):
        atoms = tuple(sorted({i for p in group for i, image in enumerate(p) if i != image}))
        elements = _closure(group, atoms, names)
        factor = Factor(atoms, tuple(names[a] for a in atoms), elements)
        differences = _energy_differences(factor, potential, disturbed)
        kept = elements[differences == 0.0]
        if len(kept) < len(elements):
            broken.append((factor, float(differences.max())))
        if len(kept) > 1:
            moved = (kept != np.array(atoms)).any(0)
            still = tuple(a for a, is_moved in zip(atoms, moved, strict=True) if is_moved)
            factors.append(Factor(still, tuple(names[a] for a in still), kept[:, moved]))
    return Symmetry(tuple(factors), tuple(broken), positions)


def label_orders(graph: BondGraph, positions: Tensor, coordinates: MolecularCoordinates) -> Tensor:
    """A structure, and behind it one with equivalent atoms exchanged, if labels are free (n, N, 3), nm.

    At each centre of four neighbours two atoms of one element that are bonded to nothing else are exchanged, where the
    domain of the coordinates holds both orders.
    """
    exchanged = positions
    for linked in graph.neighbours:
        leaves = [a for a in linked if len(graph.neighbours[a]) == 1]
        alike = [pair for pair in combinations(leaves, 2) if graph.numbers[pair[0]] == graph.numbers[pair[1]]]
        if len(linked) == 4 and alike:
            order = torch.arange(len(positions))
            order[list(alike[-1])] = order[list(reversed(alike[-1]))]
            # Where another order is none of the domain, neither is it a start.
            if _is_inside(coordinates, positions[None, order]):
                exchanged = exchanged[order]
    return positions[None] if exchanged is positions else torch.stack([positions, exchanged])


def _separate(permutations: Sequence[Permutation]) -> list[list[Permutation]]:
    """Classes of permutations, those of different classes moving different atoms."""
    classes: list[tuple[set[int], list[Permutation]]] = []
    for permutation in permutations:
        moved, group = {i for i, image in enumerate(permutation) if i != image}, [permutation]
        apart = []
        for other_moved, others in classes:
            if moved.isdisjoint(other_moved):
                apart.append((other_moved, others))
            else:
                moved, group = moved | other_moved, others + group
        classes = [*apart, (moved, group)]
    return [group for _, group in sorted(classes, key=lambda found: min(found[0]))]


def _closure(group: Sequence[Permutation], atoms: tuple[int, ...], names: Sequence[str]) -> NDArray[np.int64]:
    """All products of some permutations, on the atoms that they move (order, k)."""
    steps = [{a: p[a] for a in atoms} for p in group]
    found = [atoms]
    known = {atoms}
    for element in found:  # grows as it is read
        for step in steps:
            product = tuple(step[image] for image in element)
            if product not in known:
                known.add(product)
                found.append(product)
        if len(found) > _LARGEST:
            raise TopologyError(
                f"Expected at most {_LARGEST} permutations of equivalent atoms that hang together; those of "
                f"{', '.join(names[a] for a in atoms[:3])}, … and {len(atoms)} atoms in all are more."
            )
    return np.array(found)


def _permuted(frames: Tensor, factor: Factor, element: NDArray[np.int64]) -> Tensor:
    """Frames (n, N, 3) whose atoms have taken the positions of others."""
    order = torch.arange(frames.shape[1])
    order[list(factor.atoms)] = torch.from_numpy(element)
    return frames[:, order]


def _energy_differences(factor: Factor, potential: Potential, x: Tensor) -> Array:
    """By how much each permutation changes the energy of a structure (order,), kJ/mol; zero up to rounding."""
    energies = []
    for start in range(0, factor.order, _AT_ONCE):
        frames = [_permuted(x[None], factor, element) for element in factor.elements[start : start + _AT_ONCE]]
        energies.append(potential.energy(torch.cat(frames)).double())
    energy = torch.cat(energies)
    differences = (energy - energy[0]).abs()
    is_rounding = differences <= _SAME * energy[0].abs().clamp(min=1.0)
    changed: Array = torch.where(is_rounding, 0.0, differences).numpy()
    return changed


def _disturbed(coordinates: MolecularCoordinates, reference: Tensor) -> Tensor:
    """Structures (n, N, 3) of the domain near the reference, in which rings are closed as in thermal ones."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(_POINTS, *reference.shape, dtype=torch.float64, generator=random)
    # There and back: noise must not touch what is constrained.
    x: Tensor = coordinates(coordinates.inverse(reference + _NOISE * noise)[0])[0]
    return x


def _violations(coordinates: MolecularCoordinates, x: Tensor) -> Tensor:
    """The number of intervals that frames (n, N, 3) lie outside of (n,); many for what has no coordinates."""
    intervals = list(coordinates.domain.indices("interval"))
    counts = []
    for frames in torch.split(x, _AT_ONCE):
        z, log_ratio = coordinates.inverse(frames)
        z = z[:, intervals]
        low, high = (bound(z)[intervals] for bound in (coordinates.domain.lows, coordinates.domain.highs))
        inside = (z >= low) & (z <= high)
        counts.append((~inside).sum(1) + len(intervals) * (~log_ratio.isfinite()))
    return torch.cat(counts)


def _is_inside(coordinates: MolecularCoordinates, x: Tensor) -> Tensor:
    return _violations(coordinates, x) == 0


def _representatives(factor: Factor, coordinates: MolecularCoordinates, points: Tensor) -> Factor:
    """One permutation of each coset of those that stay in the domain."""
    names = ", ".join(factor.names[:_SHOWN])
    shares = np.array(
        [_is_inside(coordinates, _permuted(points, factor, e)).double().mean().item() for e in factor.elements]
    )
    stays = shares > 0.5
    if (np.minimum(shares, 1 - shares) > _UNDECIDED).any():
        raise TopologyError(
            f"Expected permutations of {names} to leave the domain wholly or not at all; one of them leaves it in "
            f"{1 - shares[np.abs(shares - 0.5).argmin()]:.0%} of {len(points)} structures: its copies overlap."
        )
    place = {atom: i for i, atom in enumerate(factor.atoms)}
    within = [tuple(place[a] for a in element) for element in factor.elements[stays]]
    left = {tuple(element): None for element in factor.elements.tolist()}  # in order
    chosen = []
    while left:
        element = next(iter(left))
        chosen.append(element)
        for inner in within:
            left.pop(tuple(element[i] for i in inner), None)
    if len(chosen) * len(within) != factor.order:
        raise TopologyError(
            f"Expected permutations within the domain that form a group; {len(within)} of {factor.order} of {names} "
            "do not."
        )
    return Factor(factor.atoms, factor.names, np.array(chosen))
