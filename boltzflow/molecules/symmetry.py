"""Permutations of equivalent atoms: all of them, those within a generator's domain, and their effect on log Z."""

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
_NOISE = 0.005  # nm; displacement of the structure before energies of its permutations are compared
_SAME = 1e-9  # relative difference of energies that counts as rounding
_POINTS = 16  # structures that are permuted to test whether they stay in the domain
_UNDECIDED = 0.1  # smallest fraction of these structures that counts as a partial overlap
_AT_ONCE = 1024  # structures
_SHOWN = 12  # atoms, in print


@dataclass(frozen=True)
class Factor:
    """A group of permutations that move some atoms among themselves and no other atom.

    Attributes:
        atoms: the k atoms that are moved, ascending.
        names: the names of these atoms.
        elements: (order, k), the atoms whose positions they take; the first row is the identity.
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

    They are the automorphisms of the bond graph (same element, same mass) that leave the energy of a displaced
    structure unchanged up to rounding. Examples are exchanges of equivalent hydrogens, of the oxygens of a
    carboxylate, of the halves of a phenyl ring or of a molecule, and of whole identical molecules. Mirror images are
    not included.

    Copies are counted from structures near the reference. With three or more identical molecules, whose distances from
    the first are bounded, the copies of a domain overlap partially.

    Attributes:
        factors: groups that move different atoms.
        broken: groups that preserve the bonds but not all energies, each with the largest difference, kJ/mol, at a
            structure displaced by 0.005 nm. In force fields whose improper torsions depend on the order of atoms,
            such as Amber's, the flips of carboxylates and phenyl rings change the energy. The change is small, but the
            copies then have different weights.
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
                f"  {names}: approximate only; some of these permutations change the energy by {difference:.2g} kJ/mol"
            )
        return "\n".join(lines)

    def copies(self, coordinates: MolecularCoordinates) -> Copies:
        """The copies of the domain of some coordinates that make up the space of all labelled structures.

        Raises:
            ShapeError: if the coordinates are those of another molecule.
            TopologyError: if the domain and one of its copies overlap partially, so that copies cannot be counted, or
                the system's structure lies outside the domain.
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
        coordinates: the coordinates of the domain.
        factors: for each factor of the symmetry, one permutation per copy; the first is the identity.
    """

    coordinates: MolecularCoordinates
    factors: tuple[Factor, ...]

    @cached_property
    def number(self) -> int:
        """The number of copies of the domain in the space of all labelled structures."""
        return math.prod(factor.order for factor in self.factors)

    @property
    def log_number(self) -> float:
        """The logarithm of `number`: log Z over all labelled structures minus log Z over the domain."""
        return math.log(self.number)

    def __str__(self) -> str:
        several = [factor for factor in self.factors if factor.order > 1]
        lines = [f"  {str(factor).removesuffix(' permutations')} copies" for factor in several]
        return "\n".join([f"{self.number} copies of the domain", *lines])

    @torch.no_grad()
    def fold(self, positions: Any) -> tuple[Tensor, Tensor]:
        """Permute the atoms of frames so that the frames lie in the domain.

        Args:
            positions: (n, N, 3) in nm, from any source, such as a simulation in which labels exchange.

        Returns:
            Positions (n, N, 3), and whether each frame now lies in the domain (n,). If no permutation brings a frame
            into the domain (another enantiomer, or beyond bounds), it is returned unchanged.

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
            best = outside.argmin(1)  # the first minimum: the identity if nothing is better
            folded[index] = candidates[torch.arange(len(index)), best]
        inside = _is_inside(self.coordinates, folded)
        return torch.where(inside[:, None, None], folded, frames), inside

    def unfold(self, positions: Any, seed: int) -> NDArray[np.floating[Any]]:
        """Move each frame of the domain (n, N, 3) to a copy chosen uniformly at random."""
        moved = np.array(np.asarray(positions))
        random = np.random.default_rng(seed)
        for factor in self.factors:
            # The inverse of the permutation that folds a copy leads to it.
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
        graph: the bonds; only atoms of the same element and mass are exchanged.
        masses: in dalton.
        frozen: atoms that do not move; they are equivalent to no other atom.
        potential: the energy that must not change.
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
    """A structure, followed by one with equivalent atoms exchanged if labels are free: (n, N, 3), nm.

    At each centre with four neighbours, two terminal atoms of one element are exchanged if both orders lie in the
    domain of the coordinates.
    """
    exchanged = positions
    for linked in graph.neighbours:
        leaves = [a for a in linked if len(graph.neighbours[a]) == 1]
        alike = [pair for pair in combinations(leaves, 2) if graph.numbers[pair[0]] == graph.numbers[pair[1]]]
        if len(linked) == 4 and alike:
            order = torch.arange(len(positions))
            order[list(alike[-1])] = order[list(reversed(alike[-1]))]
            # An order outside the domain cannot be used.
            if _is_inside(coordinates, positions[None, order]):
                exchanged = exchanged[order]
    return positions[None] if exchanged is positions else torch.stack([positions, exchanged])


def _separate(permutations: Sequence[Permutation]) -> list[list[Permutation]]:
    """Groups permutations into classes; different classes move different atoms."""
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
    """All products of some permutations, as images of the atoms that they move (order, k)."""
    steps = [{a: p[a] for a in atoms} for p in group]
    found = [atoms]
    known = {atoms}
    for element in found:  # grows during the loop
        for step in steps:
            product = tuple(step[image] for image in element)
            if product not in known:
                known.add(product)
                found.append(product)
        if len(found) > _LARGEST:
            raise TopologyError(
                f"Expected at most {_LARGEST} permutations in one group of equivalent atoms; got more for "
                f"{', '.join(names[a] for a in atoms[:3])}, … ({len(atoms)} atoms)."
            )
    return np.array(found)


def _permuted(frames: Tensor, factor: Factor, element: NDArray[np.int64]) -> Tensor:
    """Frames (n, N, 3) with the atoms permuted by one element of the group."""
    order = torch.arange(frames.shape[1])
    order[list(factor.atoms)] = torch.from_numpy(element)
    return frames[:, order]


def _energy_differences(factor: Factor, potential: Potential, x: Tensor) -> Array:
    """The energy change by each permutation of a structure (order,), kJ/mol; zero if it is rounding."""
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
    """Structures (n, N, 3) in the domain near the reference, with rings closed as in thermal structures."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(_POINTS, *reference.shape, dtype=torch.float64, generator=random)
    # The round trip through the coordinates removes noise from constrained coordinates.
    x: Tensor = coordinates(coordinates.inverse(reference + _NOISE * noise)[0])[0]
    return x


def _violations(coordinates: MolecularCoordinates, x: Tensor) -> Tensor:
    """For each frame (n, N, 3) the number of violated intervals (n,); many if it has no coordinates."""
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
    """One permutation from each coset of the subgroup that maps the domain to itself."""
    names = ", ".join(factor.names[:_SHOWN])
    fractions = np.array(
        [_is_inside(coordinates, _permuted(points, factor, e)).double().mean().item() for e in factor.elements]
    )
    stays = fractions > 0.5
    if not stays[0]:  # the identity
        raise TopologyError(
            f"Expected the system's structure inside the domain of the coordinates; {1 - fractions[0]:.0%} of "
            f"{len(points)} structures near it lie outside."
        )
    if (np.minimum(fractions, 1 - fractions) > _UNDECIDED).any():
        raise TopologyError(
            f"Expected each permutation of {names} to move the domain completely or not at all; one moves "
            f"{1 - fractions[np.abs(fractions - 0.5).argmin()]:.0%} of {len(points)} structures out of it, so that "
            "copies overlap."
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
            f"Expected the permutations that map the domain to itself to form a group; the {len(within)} of "
            f"{factor.order} permutations of {names} do not."
        )
    return Factor(factor.atoms, factor.names, np.array(chosen))
