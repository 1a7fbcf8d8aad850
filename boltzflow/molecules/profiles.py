"""The energy along each length and angle of a molecule, for any force."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cached_property

import openmm
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.geometry import angle, cross, distance
from boltzflow.coordinates.profile import Energy, around, natural_range
from boltzflow.energies import Potential
from boltzflow.molecules.parameters import constraints
from boltzflow.molecules.potentials import eager_potential
from boltzflow.molecules.terms import Terms

_POINTS = 40  # values of the full energy on either side of the reference value
_HIGH = 1e5  # kJ/mol above the minimum; higher energies are clamped to it


class EnergyAlong:
    """Two atoms of a length, or three of an angle → the energy along it (`coordinates.profile.Energies`).

    The first atom and its substituents move; all other atoms are fixed. The energy is the sum of the terms and pairs
    of these two or three atoms, and of compound bonds that contain them. If there are no such terms, it is the full
    energy, so that every force is covered. The result is None if only harmonic terms act, whose constants
    `parameters` reads, or if the energy does not vary.

    Args:
        system: the Hamiltonian.
        graph: the bonds.
        positions: the reference structure (N, 3), nm, float64.
        frozen: atoms that do not move.
    """

    def __init__(
        self, system: openmm.System, graph: BondGraph, positions: Tensor, frozen: Collection[int] = ()
    ) -> None:
        self._system, self._graph, self._positions = system, graph, positions
        self._terms = Terms(system)
        self._fixed = {frozenset((i, j)) for i, j, _ in constraints(system)}
        self._frozen = set(frozen)
        self._interpolated: dict[tuple[int, ...], PchipInterpolator] = {}

    def __call__(self, atoms: Sequence[int]) -> Energy | None:
        if frozenset((atoms[0], atoms[-1])) in self._fixed or set(atoms) <= self._frozen:
            return None
        terms = self._terms.acting(atoms)
        pairs = self._terms.pairs_within([atoms[0], atoms[-1]])
        parabola = "HarmonicBondForce" if len(atoms) == 2 else "HarmonicAngleForce"
        if not pairs and {self._terms.kind(term) for term in terms} == {parabola}:
            return None
        if not terms and not pairs:
            return self._whole_along(atoms)
        others = {atom for term in terms for atom in term.atoms} - set(atoms)
        chosen = [*atoms, *sorted(others)]
        return self._along(atoms, chosen, self._terms.potential(chosen, terms, pairs))

    def _whole_along(self, atoms: Sequence[int]) -> Energy:
        """The full energy along a coordinate, interpolated between a few values because it may be costly."""
        key = tuple(atoms)
        if key not in self._interpolated:
            ends = self._positions[list(atoms)]
            is_length = len(atoms) == 2
            value = float(distance(*ends) if is_length else angle(*ends))
            x = around(
                value, *(natural_range("length", value) if is_length else natural_range("angle", value)), _POINTS
            )
            energies = self._along(atoms, range(len(self._positions)), self._whole)(x).double()
            lowest = float(energies[energies.isfinite()].min())
            energies = torch.nan_to_num(energies, nan=math.inf).clamp(lowest, lowest + _HIGH)
            self._interpolated[key] = PchipInterpolator(x.numpy(), energies.numpy())
        smooth = self._interpolated[key]
        return lambda values: torch.from_numpy(smooth(values.numpy()))

    @cached_property
    def _whole(self) -> Potential:
        return eager_potential(self._system)

    def _along(self, atoms: Sequence[int], chosen: Sequence[int], potential: Potential) -> Energy:
        """The energy of some atoms along the coordinate."""
        x = self._positions[list(chosen)]
        hanging = self._hanging(atoms[0], atoms[1])
        moving = [place for place, atom in enumerate(chosen) if atom in hanging]
        ends = self._positions[list(atoms)]
        first, middle, last = ends[0], ends[1], ends[-1]

        def energy(values: Tensor) -> Tensor:
            frames = x.repeat(len(values), 1, 1)
            if len(atoms) == 2:
                along = torch.nn.functional.normalize(first - middle, dim=0)
                frames[:, moving] += ((values - distance(first, middle))[:, None] * along)[:, None]
            else:
                turns = angle(first, middle, last) - values
                normal = _normal(first - middle, last - middle)
                frames[:, moving] = middle + _turned(x[moving] - middle, normal, turns)
            return potential.energy(frames)

        return energy

    def _hanging(self, atom: int, centre: int) -> set[int]:
        """The atom and its substituents, seen from the centre; in a ring only atoms that have no other neighbour."""
        beyond = self._graph.distances(atom, without=(atom, centre))
        if centre not in beyond:
            return set(beyond)
        return {atom, *(a for a in self._graph.neighbours[atom] if len(self._graph.neighbours[a]) == 1)}


def _normal(a: Tensor, b: Tensor) -> Tensor:
    """A unit vector normal to two others; any normal to the first if they are collinear."""
    normal = cross(a, b)
    if float(normal.norm()) < 1e-9 * float(a.norm() * b.norm()):
        normal = cross(a, torch.eye(3, dtype=a.dtype)[a.abs().argmin()])
    return torch.nn.functional.normalize(normal, dim=0)


def _turned(x: Tensor, axis: Tensor, turns: Tensor) -> Tensor:
    """Points (m, 3) rotated about an axis (3,) by angles in rad (n,): (n, m, 3) (Rodrigues' formula)."""
    sine, cosine = turns.sin()[:, None, None], turns.cos()[:, None, None]
    along = (x @ axis)[:, None] * axis
    return along + cosine * (x - along) + sine * cross(axis.expand_as(x), x)
