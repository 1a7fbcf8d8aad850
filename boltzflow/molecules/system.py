"""A molecule to sample: topology, `openmm.System`, reference structure, temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

import mdtraj
import numpy as np
import openmm
import openmm.unit as u
import torch
from openmm import app
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.coordinates import (
    MolecularCoordinates,
    rigid_dynamics_log_factor,
)
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.profile import Profiles
from boltzflow.energies import BoltzmannTarget, Potential
from boltzflow.energies.system_xml import copy_system
from boltzflow.errors import NonFiniteError, OptionError, ShapeError
from boltzflow.molecules.bonds import add_missing_bonds
from boltzflow.molecules.naming import atom_names
from boltzflow.molecules.parameters import angle_terms, bond_terms, constraints, masses
from boltzflow.molecules.placing.choice import placed
from boltzflow.molecules.placing.internal import InternalOptions, frozen_atoms, frozen_copy
from boltzflow.molecules.plain import copy_topology, system_from_plain, system_to_plain
from boltzflow.molecules.potentials import Backend, eager_potential, potential_of
from boltzflow.molecules.profiles import EnergyAlong
from boltzflow.molecules.readers import FromFiles
from boltzflow.molecules.selection import selected
from boltzflow.molecules.symmetry import Symmetry, find_symmetry
from boltzflow.units import Temperature, checked_temperature


class MolecularSystem(FromFiles):
    """A molecule, its Hamiltonian and its temperature. It is immutable: all arguments are copied.

    A System with a PythonForce (of openmm-ml, for example) is the exception: OpenMM can only copy it by pickling its
    function. Such a System is not copied, is evaluated by OpenMM in this process, and cannot be saved.

    Args:
        topology: atoms, residues and bonds.
        system: the Hamiltonian: any `openmm.System`.
        positions: reference structure (N, 3) in nm, or a Quantity; it sets the chirality of each centre.
        temperature: in K, or a Quantity.
        name: for messages and files.

    Raises:
        ShapeError: if topology, system and positions differ in the number of atoms.
        NonFiniteError: if a position is not finite; names the atom.
        OptionError: if the temperature is not positive.

    Bonds missing from the topology are added, with a warning, according to energy terms and distances.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> system.atom_names[8], system.positions.shape
    ('ALA2-CA', (22, 3))
    """

    def __init__(
        self,
        topology: app.Topology,
        system: openmm.System,
        positions: Any,
        temperature: Temperature = 300.0,
        name: str = "",
    ) -> None:
        if isinstance(positions, u.Quantity):
            positions = positions.value_in_unit(u.nanometer)
        array = np.array(positions, dtype=np.float64)
        n = topology.getNumAtoms()
        if system.getNumParticles() != n or array.shape != (n, 3):
            raise ShapeError(
                f"Expected {n} particles and positions ({n}, 3) for a topology of {n} atoms; "
                f"got {system.getNumParticles()} particles and positions {array.shape}."
            )
        self.topology = copy_topology(topology)
        self.temperature = checked_temperature(temperature)
        self.name = name
        self._positions: Array = array
        self._system = copy_system(system)
        broken = np.flatnonzero(~np.isfinite(array).all(1))
        if len(broken):
            atom = self.atom_names[broken[0]]
            raise NonFiniteError(f"Expected finite reference positions; got {array[broken[0]]} for {atom}.")
        add_missing_bonds(self.topology, self._system, array)

    def __repr__(self) -> str:
        return f"MolecularSystem({self.name!r}, {self.n_atoms} atoms, {self.temperature:g} K)"

    @property
    def openmm_system(self) -> openmm.System:
        """A copy of the Hamiltonian; the original if it contains a PythonForce."""
        return copy_system(self._system)

    @property
    def n_atoms(self) -> int:
        """The number of atoms N."""
        return len(self._positions)

    @property
    def positions(self) -> Array:
        """A copy of the reference structure (N, 3), nm."""
        return self._positions.copy()

    @cached_property
    def atom_names(self) -> tuple[str, ...]:
        """A name for each atom, such as "ALA2-CA"; prefixed with the chain's id if there are several chains."""
        return atom_names(self.topology)

    @cached_property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """Pairs of atom indices."""
        return tuple((bond.atom1.index, bond.atom2.index) for bond in self.topology.bonds())

    @cached_property
    def mdtraj_topology(self) -> mdtraj.Topology:
        """The topology in mdtraj's format."""
        return mdtraj.Topology.from_openmm(self.topology)

    def potential(self, backend: Backend = "auto", **options: Any) -> Potential:
        """The potential energy: positions (batch, N, 3) in nm → (batch,) kJ/mol.

        Args:
            backend: "torch" (native, batched), "openmm" (any force), or "auto": torch, or OpenMM with a warning if a
                force has no native translation.
            options: those of `OpenMMPotential` (platform, precision, workers) or `TorchPotential`; not with "auto".

        Raises:
            UnsupportedForceError: if the backend is "torch" and a force has no native translation.
            OptionError: if the backend is unknown, or options are given with "auto".
        """
        return potential_of(self._system, backend, options)

    def coordinates(
        self,
        lengths: Literal["bounded", "unbounded"] = "bounded",
        labels: Literal["fixed", "free"] = "fixed",
        separation: float = 0.5,
        core: str | Sequence[int] | None = None,
        trajectory: mdtraj.Trajectory | None = None,
    ) -> MolecularCoordinates:
        """Coordinates (batch, D) → positions: internal ones, with bounds and initial widths from the force field.

        Constrained bonds and angles, and frozen atoms, have no coordinates. With a core, the atoms of the core have
        Cartesian modes (`MixedCoordinates`; `CartesianCoordinates` with core="all"), scaled to the fluctuations in a
        trajectory, or else in the harmonic approximation at the reference structure, which should be a minimum.

        Args:
            lengths: "bounded" for bond lengths in an interval, or "unbounded" for the exponential of a real coordinate.
            labels: "fixed" keeps the labels of equivalent hydrogens as in the reference; "free" allows every order.
            separation: how far the distance of two molecules' heads may exceed that in the reference, nm.
            core: atoms with Cartesian coordinates: indices, or an mdtraj selection, such as "backbone" or "all".
            trajectory: frames of this molecule that include all states of the core to be sampled.

        Raises:
            TopologyError: if a bond seems to be missing, all atoms (of the core) are collinear, a constraint determines
                no coordinate or acts in the core, there are virtual sites, or the energy is not invariant under
                translation and rotation; names the atoms.
            ShapeError: if the trajectory is of another molecule, or too short.
            OptionError: if an option is invalid.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> system.coordinates(core="backbone").domain.names[17:19]
        ('mode 18', 'bond ALA2-CB ALA2-CA')
        """
        chosen = None if core is None else selected(self.mdtraj_topology, core)
        internal = InternalOptions(lengths, labels, separation, self.temperature, self.energies_along)
        return placed(self.bond_graph, self._system, self._positions, internal, chosen, trajectory)

    def cut_off(self, coordinates: MolecularCoordinates, temperature: Temperature | None = None) -> dict[str, float]:
        """The probability that each length and angle lies outside its bounds, by name. A generator cannot sample it.

        It is computed from the energy along the coordinate, with all others fixed as in the reference structure.
        Probabilities below 1e-9 are left out.

        Args:
            coordinates: of this system; modes of a core have no bounds.
            temperature: in K or a Quantity; the system's own if not given.

        Raises:
            OptionError: if the temperature is not positive.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> system.cut_off(system.coordinates())
        {}
        """
        kelvin = self.temperature if temperature is None else checked_temperature(temperature)
        profiles = Profiles(bond_terms(self._system), angle_terms(self._system), self.energies_along)
        return coordinates.cut_off(self._positions, profiles, kelvin)

    @cached_property
    def energies_along(self) -> EnergyAlong:
        """The energy along each length (two atoms) and angle (three atoms), for any force."""
        return EnergyAlong(self._system, self.bond_graph, torch.from_numpy(self.positions), frozen_atoms(self._system))

    def freeze(self, atoms: str | Sequence[int]) -> Self:
        """This system with some atoms frozen at their reference positions; their masses are set to zero.

        Args:
            atoms: the atoms to freeze: indices, or an mdtraj selection, such as "resid 0 to 3" or "not sidechain".

        Raises:
            OptionError: if the selection is invalid, or selects no atom or all atoms.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide").freeze("resname ALA")
        >>> len(system.coordinates().domain)
        36
        """
        frozen = selected(self.mdtraj_topology, atoms)
        if not 0 < len(frozen) < self.n_atoms:
            raise OptionError(f"Expected some of the {self.n_atoms} atoms to freeze; got {len(frozen)} with {atoms!r}.")
        system = frozen_copy(self._system, frozen)
        return type(self)(self.topology, system, self._positions, self.temperature, self.name)

    def rigid_dynamics_log_factor(self, positions: Tensor) -> Tensor:
        """½ log det Z (batch,): log-density sampled by constrained dynamics relative to e^{−u} at fixed values.

        See `boltzflow.coordinates.rigid_dynamics_log_factor`. positions: (batch, N, 3), nm.
        """
        return rigid_dynamics_log_factor(positions, constraints(self._system), masses(self._system))

    def target(self, temperature: Temperature | None = None) -> BoltzmannTarget:
        """The Boltzmann distribution at a temperature in K, the system's own if not given.

        Raises:
            OptionError: if the temperature is not positive.
        """
        return BoltzmannTarget(self.potential(), self.temperature if temperature is None else temperature)

    def symmetry(self) -> Symmetry:
        """The permutations of equivalent atoms that leave every energy unchanged; frozen atoms are not permuted.

        Raises:
            TopologyError: if one group has more than 50 000 permutations.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> symmetry = system.symmetry()  # three methyls
        >>> print(symmetry)
        216 permutations
          ACE1-H1/ACE1-H2/ACE1-H3: 6 permutations
          ALA2-HB1/ALA2-HB2/ALA2-HB3: 6 permutations
          NME3-H1/NME3-H2/NME3-H3: 6 permutations
        >>> symmetry.copies(system.coordinates()).number  # cyclic permutations of a methyl lie in the domain
        8
        """
        return find_symmetry(
            self.bond_graph,
            masses(self._system),
            frozen_atoms(self._system),
            eager_potential(self._system),
            torch.from_numpy(self.positions),
        )

    @cached_property
    def bond_graph(self) -> BondGraph:
        """The bonds as a graph, with elements and names."""
        numbers = [atom.element.atomic_number if atom.element else 0 for atom in self.topology.atoms()]
        return BondGraph(self.bonds, numbers, self.atom_names)

    @property
    def specification(self) -> dict[str, Any]:
        """Everything needed to rebuild this system, as JSON-serialisable values; see `from_specification`.

        Raises:
            UnsupportedForceError: if the Hamiltonian contains a PythonForce, because loading it would execute code.
        """
        return system_to_plain(self.topology, self._system, self._positions, self.temperature, self.name)

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> Self:
        """Rebuild from `specification`.

        Raises:
            FileFormatError: if the System's XML is damaged, the name is not a string, or a position is not finite.
            UnsupportedForceError: if it contains a PythonForce, which would run code.
        """
        return cls(*system_from_plain(specification))
