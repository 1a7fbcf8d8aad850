"""The bonded energy along one coordinate, computed from only those terms that the coordinate changes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.coordinates import InternalCoordinates, MixedCoordinates, MolecularCoordinates
from boltzflow.coordinates.moves import Moves
from boltzflow.coordinates.profile import Energies, Energy
from boltzflow.energies import Potential
from boltzflow.energies.forcefield.nonbonded import COULOMB_CONSTANT
from boltzflow.errors import NotSupportedError
from boltzflow.molecules.terms import LISTED, Term, Terms
from boltzflow.units import thermal_energy


class ConditionalDensities:
    """The Boltzmann density of each internal coordinate from the bonded terms, all other coordinates fixed.

    A coordinate moves rigid fragments relative to each other. Only terms between these fragments change, and only
    their atoms are placed. The total cost therefore grows linearly with the number of coordinates.

    Args:
        system: the Hamiltonian; only its bonded terms and the exceptions of its NonbondedForces count.
        coordinates: of this system, with intervals or circles.
        positions: structures (n, N, 3), nm; they give the fixed values.
        temperature: K.
        energies: along lengths and angles, for those without a bonded term.
    """

    def __init__(
        self,
        system: openmm.System,
        coordinates: MolecularCoordinates,
        positions: Tensor,
        temperature: float,
        energies: Energies | None = None,
    ) -> None:
        self._coordinates, self._first = coordinates, 0
        internal, self._numbers = coordinates, tuple(range(len(coordinates.domain)))
        if isinstance(coordinates, MixedCoordinates):
            internal, self._numbers = coordinates.internal, coordinates.rest
            self._first = len(coordinates.cartesian.domain)
        if not isinstance(internal, InternalCoordinates):
            raise NotSupportedError(
                f"Expected internal coordinates, except for a Cartesian core; got {type(internal).__name__}."
            )
        self._internal, self._moves = internal, Moves(internal)
        self._structures = [(z, internal(z[None])[0][0]) for z in internal.inverse(positions.double())[0]]
        self._kt, self._energies = thermal_energy(temperature), energies
        self._terms = Terms(_bonded(system))
        self._of_row: dict[int, list[Term]] = defaultdict(list)
        for term in self._terms.terms:
            for row in self._moves.separators(term.atoms):
                self._of_row[row].append(term)
        self._prepared: dict[int, tuple[list[int], Potential | None]] = {}

    def rows(self, numbers: Sequence[int]) -> list[list[int]]:
        """Some of the D coordinates, grouped by atom: the densities of one group are computed together."""
        found: dict[int, list[int]] = defaultdict(list)
        for number in numbers:
            found[self._moves.row(self._inner(number))].append(number)
        return list(found.values())

    def __call__(self, numbers: Sequence[int], knots: Tensor) -> Tensor:
        """Densities of one atom's coordinates at knots (len(numbers), K), averaged over the structures.

        Uniform if no energy is finite.
        """
        atoms, potential = self._prepare(numbers)
        n_structures, n_knots = len(self._structures), knots.shape[1]
        energies = torch.zeros(len(numbers), n_structures, n_knots, dtype=torch.float64)
        if potential is not None:
            frames = [
                self._moves.along(self._inner(number), z, x, values, atoms)
                for number, values in zip(numbers, knots, strict=True)
                for z, x in self._structures
            ]
            energies = potential.energy(torch.cat(frames)).double().view(energies.shape)
        log_values = torch.empty_like(energies)
        for place, (number, values) in enumerate(zip(numbers, knots, strict=True)):
            along = self._unheld(number)
            extra = 0.0 if along is None else along(values).double()
            volume = self._coordinates.log_volume_along(number, values)
            log_values[place] = volume - (energies[place] + extra) / self._kt
        return normalised(log_values, knots[:, None]).mean(1)

    def _inner(self, number: int) -> int:
        """The index of one of the D coordinates among the internal coordinates."""
        return self._numbers[number - self._first]

    def _prepare(self, numbers: Sequence[int]) -> tuple[list[int], Potential | None]:
        """The atoms of the terms that the coordinates change, and the potential of these terms."""
        key = numbers[0]
        if key not in self._prepared:
            changed: dict[int, Term] = {}
            for number in numbers:
                moving = self._moves.moving(self._inner(number))
                near = {id(term): term for row in moving for term in self._of_row[row]}
                parts = self._moves.parts(moving, {atom for term in near.values() for atom in term.atoms})
                changed |= {i: term for i, term in near.items() if len({parts[atom] for atom in term.atoms}) > 1}
            terms = list(changed.values())
            atoms = sorted({atom for term in terms for atom in term.atoms})
            self._prepared[key] = atoms, self._terms.potential(atoms, terms) if terms else None
        return self._prepared[key]

    def _unheld(self, number: int) -> Energy | None:
        """The energy along a length or angle without a bonded term."""
        zmatrix, row = self._internal.zmatrix, self._moves.row(self._inner(number))
        i, n = self._internal.varying[self._inner(number)], zmatrix.n_atoms
        if self._energies is None or i >= 2 * n - 3 or (i >= n - 1 and row in zmatrix.linear):
            return None
        atoms = zmatrix.rows[row][: 2 if i < n - 1 else 3]
        if zmatrix.is_link(*atoms[:2]) or zmatrix.is_link(*atoms[1:]):
            return None
        return None if self._terms.acting(atoms) else self._energies(atoms)


def normalised(log_values: Tensor, knots: Tensor) -> Tensor:
    """Normalised densities (…, K) at knots that broadcast with them; uniform if no value is finite."""
    log_values = torch.nan_to_num(log_values, nan=-torch.inf)
    highest = log_values.amax(-1, keepdim=True)
    values = torch.where(highest > -torch.inf, (log_values - highest).exp(), 1.0)
    return values / torch.trapezoid(values, knots.expand_as(values), dim=-1)[..., None]


def _bonded(system: openmm.System) -> openmm.System:
    """Only the bonded terms and the exceptions of nonbonded forces."""
    bonded = openmm.System()
    for _ in range(system.getNumParticles()):
        bonded.addParticle(1.0)
    for force in system.getForces():
        if isinstance(force, LISTED):
            bonded.addForce(copy.deepcopy(force))
        elif isinstance(force, openmm.NonbondedForce):
            bonded.addForce(_exceptions(force))
    bonded.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    return bonded


def _exceptions(force: openmm.NonbondedForce) -> openmm.CustomBondForce:
    pairs = openmm.CustomBondForce(f"{COULOMB_CONSTANT} * q / r + 4 * epsilon * ((sigma / r)^12 - (sigma / r)^6)")
    for name in ("q", "sigma", "epsilon"):
        pairs.addPerBondParameter(name)
    for index in range(force.getNumExceptions()):
        i, j, *parameters = force.getExceptionParameters(index)
        q, sigma, epsilon = (p.value_in_unit_system(u.md_unit_system) for p in parameters)
        if q != 0 or epsilon != 0:
            pairs.addBond(i, j, [q, sigma, epsilon])
    return pairs
