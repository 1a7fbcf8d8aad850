"""A molecule that is ready for sampling: topology, `openmm.System`, reference structure, temperature."""

from __future__ import annotations

import copy
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
from boltzflow.molecules.plain import system_from_plain, system_to_plain
from boltzflow.molecules.potentials import Backend, eager_potential, potential_of
from boltzflow.molecules.profiles import EnergyAlong
from boltzflow.molecules.readers import FromFiles
from boltzflow.molecules.selection import selected
from boltzflow.molecules.symmetry import Symmetry, find_symmetry
from boltzflow.units import Temperature, checked_temperature


class MolecularSystem(FromFiles):
    """A molecule, its Hamiltonian and its temperature. Immutable: what it is made from is copied.

    A System with a PythonForce (of openmm-ml, say) is the exception: OpenMM could only copy it by pickling its
    function. It is kept as it is, evaluated through OpenMM in this process, and cannot be saved.

    Args:
        topology: atoms, residues and bonds.
        system: the Hamiltonian, anything that OpenMM can build.
        positions: reference structure (N, 3) in nm, or a Quantity; it sets the handedness of each centre.
        temperature: in K, or a Quantity.
        name: for messages and files.

    Raises:
        ShapeError: if the three disagree about the number of atoms.
        NonFiniteError: if a position is not finite; names the atom.
        OptionError: if the temperature is not positive.

    Bonds that the topology lacks are added, with a warning, where energy terms and distances speak for them.

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
        self.topology: app.Topology = copy.deepcopy(topology)
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
        """A copy of the Hamiltonian; itself if it holds a PythonForce."""
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
        """A name for each atom, such as "ALA2-CA"; with the chain's id in front if there are several chains."""
        return atom_names(self.topology)

    @cached_property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """Pairs of atom indices."""
        return tuple((bond.atom1.index, bond.atom2.index) for bond in self.topology.bonds())

    @cached_property
    def mdtraj_topology(self) -> mdtraj.Topology:
        """The topology as mdtraj has it."""
        return mdtraj.Topology.from_openmm(self.topology)

    def potential(self, backend: Backend = "auto", **options: Any) -> Potential:
        """The potential energy: positions (batch, N, 3) in nm → (batch,) kJ/mol.

        Args:
            backend: "torch" (native, batched), "openmm" (any force), or "auto": torch, and OpenMM with a warning
                where a force has no native translation.
            options: of `OpenMMPotential` (platform, precision, workers) or `TorchPotential`; need that backend named.

        Raises:
            UnsupportedForceError: if the backend is "torch" and a force has no native translation.
            OptionError: if there is no such backend, or options come with "auto".
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
        """Coordinates (batch, D) → positions: internal ones, with bounds and start widths from the force field.

        Constrained bonds and angles, and frozen atoms, have no coordinates. With a core, its atoms have Cartesian
        modes (`MixedCoordinates`; `CartesianCoordinates` with core="all"), scaled to their fluctuations in a
        trajectory, or in the parabola of the energy at the reference structure, which is best a minimum.

        Args:
            lengths: bond lengths in an interval, or positive ones of an unbounded coordinate.
            labels: of equivalent hydrogens: those of the reference structure, or "free" for every order of them.
            separation: how much further apart than in the reference the heads of two molecules may be, nm.
            core: atoms with Cartesian coordinates: indices, or a selection of mdtraj, such as "backbone" or "all".
            trajectory: of this molecule, with all states of the core that are to be sampled.

        Raises:
            TopologyError: if a bond seems to be missing, all atoms (of the core) lie on a line, a constraint fixes no
                coordinate or one of the core, there are virtual sites, or the energy changes when all atoms move
                together; names the atoms.
            ShapeError: if the trajectory is of another molecule, or too short.
            OptionError: if an option is impossible.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> system.coordinates(core="backbone").domain.names[17:19]
        ('mode 18', 'bond ALA2-CB ALA2-CA')
        """
        chosen = None if core is None else selected(self.mdtraj_topology, core)
        internal = InternalOptions(lengths, labels, separation, self.temperature, self.energies_along)
        return placed(self.bond_graph, self._system, self._positions, internal, chosen, trajectory)

    def cut_off(self, coordinates: MolecularCoordinates, temperature: Temperature | None = None) -> dict[str, float]:
        """The probability that each length and angle lies outside its bounds, by name: what a generator cannot show.

        It is that of the energy along the coordinate alone, all others as in the reference structure. Coordinates that
        lose less than 1e-9 are left out.

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
        """The energy along each length and angle: of two or three atoms, whatever forces it comes from."""
        return EnergyAlong(self._system, self.bond_graph, torch.from_numpy(self.positions), frozen_atoms(self._system))

    def freeze(self, atoms: str | Sequence[int]) -> Self:
        """This system with some atoms held where the reference structure has them: their masses are zero.

        Args:
            atoms: indices, or a selection of mdtraj, such as "resid 0 to 3" or "not sidechain".

        Raises:
            OptionError: if the selection is not one, or holds no atom or all of them.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide").freeze("resname ALA")
        >>> len(system.coordinates().domain)
        36
        """
        frozen = selected(self.mdtraj_topology, atoms)
        if not 0 < len(frozen) < self.n_atoms:
            raise OptionError(f"Expected some of the {self.n_atoms} atoms to freeze; got {len(frozen)} by {atoms!r}.")
        system = frozen_copy(self._system, frozen)
        return type(self)(self.topology, system, self._positions, self.temperature, self.name)

    def rigid_dynamics_log_factor(self, positions: Tensor) -> Tensor:
        """What dynamics with this system's constraints samples beside e^{−u} at fixed values: ½ log det Z (batch,).

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
        """The permutations of equivalent atoms that leave every energy unchanged, those of frozen atoms left out.

        Raises:
            TopologyError: if too many of them hang together.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> symmetry = system.symmetry()  # three methyls
        >>> print(symmetry)
        216 permutations
          ACE1-H1/ACE1-H2/ACE1-H3: 6 permutations
          ALA2-HB1/ALA2-HB2/ALA2-HB3: 6 permutations
          NME3-H1/NME3-H2/NME3-H3: 6 permutations
        >>> symmetry.copies(system.coordinates()).number  # a methyl's circle holds its three cyclic ones
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
        """Everything that rebuilds this system, as JSON-able values; see `from_specification`.

        Raises:
            UnsupportedForceError: if the Hamiltonian holds a PythonForce: what loads it again would execute code.
        """
        return system_to_plain(self.topology, self._system, self._positions, self.temperature, self.name)

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> Self:
        """Rebuild from `specification`.

        Raises:
            FileFormatError: if the System's XML is damaged, the name is no text, or a position is not finite.
            UnsupportedForceError: if it holds a PythonForce, which would run code.
        """
        return cls(*system_from_plain(specification))
