"""The internal coordinates of a molecular system, from its Hamiltonian and its reference structure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import openmm
import openmm.unit as u
import scipy.spatial
import torch

from boltzflow.arrays import Array
from boltzflow.coordinates import InternalCoordinates
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.profile import Energies
from boltzflow.energies.system_xml import copy_system
from boltzflow.errors import TopologyError, UnsupportedForceError
from boltzflow.molecules.forcefields import one_line
from boltzflow.molecules.parameters import angle_terms, bond_terms, constraints, masses

_TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])  # a rotation without symmetry
_SHIFT = np.array([0.31, -0.17, 0.23])  # nm
_SAME = 1e-6  # relative difference of energies that counts as rounding


class InternalOptions(NamedTuple):
    """The options of `MolecularSystem.coordinates`, and the energies along lengths and angles at a temperature."""

    lengths: Literal["bounded", "unbounded"]
    labels: Literal["fixed", "free"]
    separation: float
    temperature: float
    energies: Energies


def internal_coordinates(
    graph: BondGraph,
    system: openmm.System,
    positions: Array,
    options: InternalOptions,
    core: Collection[int] = (),
) -> InternalCoordinates:
    """See `MolecularSystem.coordinates`; `core` is placed first."""
    names = graph.names
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if sites:
        raise TopologyError(
            f"Expected a molecule without virtual sites; {names[sites[0]]} is a virtual site, which has no internal "
            "coordinates: use a model without virtual sites."
        )
    frozen = frozen_atoms(system)
    if frozen and core:
        raise TopologyError("Expected frozen atoms or a Cartesian core; got both: frozen atoms have no modes.")
    _check_energy(system, positions, names, must_be_invariant=not frozen)
    coordinates = InternalCoordinates.from_structure(
        graph.bonds,
        positions,
        graph.numbers,
        names,
        bond_terms=bond_terms(system),
        angle_terms=angle_terms(system),
        energies=options.energies,
        temperature=options.temperature,
        lengths=options.lengths,
        labels=options.labels,
        constraints=constraints(system),
        frozen=frozen,
        core=core,
        separation=options.separation,
    )
    _check_reference(coordinates, positions)
    return coordinates


def frozen_atoms(system: openmm.System) -> tuple[int, ...]:
    """The atoms that do not move: in OpenMM those of mass zero that are not virtual sites."""
    return tuple(i for i, mass in enumerate(masses(system)) if mass == 0 and not system.isVirtualSite(i))


def frozen_copy(system: openmm.System, atoms: Collection[int]) -> openmm.System:
    """A copy in which some atoms are frozen, without the constraints between them."""
    copied = copy_system(system)
    for atom in atoms:
        copied.setParticleMass(atom, 0.0)
    for index in reversed(range(copied.getNumConstraints())):
        if set(copied.getConstraintParameters(index)[:2]) <= set(atoms):
            copied.removeConstraint(index)
    return copied


def _check_reference(coordinates: InternalCoordinates, positions: Array) -> None:
    """Raise a TopologyError if the reference structure lies outside the domain; names the coordinate."""
    z = coordinates.inverse(torch.from_numpy(positions)[None])[0][0]
    for value, coordinate in zip(z.tolist(), coordinates.domain, strict=True):
        if coordinate.kind == "interval" and not coordinate.low <= value <= coordinate.high:
            raise TopologyError(
                f"Expected a reference structure inside the bounds of its coordinates; {coordinate.name} is "
                f"{value:.4g}, not between {coordinate.low:.4g} and {coordinate.high:.4g}: minimise the structure "
                "(`boltzflow.simulation.minimize`), or correct the positions of these atoms."
            )


def _check_energy(system: openmm.System, positions: Array, names: Sequence[str], must_be_invariant: bool) -> None:
    """Check that the reference structure has a finite energy, invariant under translation and rotation.

    Raises:
        UnsupportedForceError: if OpenMM refuses the System.
        TopologyError: if the energy is not finite (names the two closest atoms) or not invariant (gives both energies).
    """
    try:
        integrator = openmm.VerletIntegrator(0.001)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        energies = []
        for x in (positions, positions @ _TURN.T + _SHIFT):
            context.setPositions(x)
            energies.append(context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(u.kilojoule_per_mole))
    except openmm.OpenMMException as error:
        raise UnsupportedForceError(f"Expected a System that OpenMM can evaluate; got: {one_line(error)}.") from None
    here, there = energies
    if not math.isfinite(here):
        raise TopologyError(
            f"Expected a finite energy of the reference structure; got {here} kJ/mol; the closest atoms, "
            f"{_closest(positions, names)}."
        )
    if must_be_invariant and not abs(here - there) <= _SAME * max(abs(here), abs(there), 1.0):
        raise TopologyError(
            f"Expected an energy that is invariant under translation and rotation; it changes from {here:.6g} to "
            f"{there:.6g} kJ/mol, as with a position restraint or a periodic box. Freeze at least three atoms, "
            "restrain distances between atoms instead, or build the system without a box."
        )


def _closest(positions: Array, names: Sequence[str]) -> str:
    """The two atoms that are closest to each other, and their distance."""
    distances, neighbours = scipy.spatial.cKDTree(positions).query(positions, k=2)
    one = int(distances[:, 1].argmin())
    other = int(next(i for i in neighbours[one] if i != one))
    return f"{names[one]} and {names[other]}, are {distances[one, 1]:.2g} nm apart"
