"""A molecule that is ready for sampling: topology, `openmm.System`, reference structure, temperature."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import mdtraj
import numpy as np
import openmm
import openmm.unit as u
import torch
from numpy.typing import NDArray
from openmm import app
from torch import Tensor

from boltzflow.coordinates import (
    InternalCoordinates,
    MixedCoordinates,
    MolecularCoordinates,
    rigid_dynamics_log_factor,
)
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.profile import Profiles
from boltzflow.energies import BoltzmannTarget, OpenMMPotential, Potential, TorchPotential
from boltzflow.energies.system_xml import copy_system, system_to_xml
from boltzflow.errors import FileFormatError, NonFiniteError, OptionError, ShapeError, UnsupportedForceError
from boltzflow.molecules import readers, sequence
from boltzflow.molecules.bonds import add_missing_bonds
from boltzflow.molecules.forcefields import ForceFieldFiles, file_names, read_forcefield
from boltzflow.molecules.parameters import angle_terms, bond_terms, constraints
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.placing.cartesian import mixed_coordinates
from boltzflow.molecules.placing.internal import frozen_atoms, frozen_copy, internal_coordinates
from boltzflow.molecules.plain import system_from_xml, topology_from_plain, topology_to_plain
from boltzflow.molecules.potentials import eager_potential
from boltzflow.molecules.profiles import EnergyAlong
from boltzflow.molecules.symmetry import Symmetry, find_symmetry, label_orders
from boltzflow.units import checked_temperature

Backend = Literal["auto", "torch", "openmm"]


class MolecularSystem:
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
        self, topology: app.Topology, system: openmm.System, positions: Any, temperature: Any = 300.0, name: str = ""
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
        self._positions: NDArray[np.float64] = array
        self._system = copy_system(system)
        broken = np.flatnonzero(~np.isfinite(array).all(1))
        if len(broken):
            atom = self.atom_names[broken[0]]
            raise NonFiniteError(f"Expected finite reference positions; got {array[broken[0]]} for {atom}.")
        add_missing_bonds(self.topology, self._system, array)

    # -- from files and sequences ------------------------------------------------------------------

    @classmethod
    def from_pdb(
        cls,
        path: str | Path,
        forcefield: ForceFieldFiles,
        temperature: Any = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        hydrogens_at_ph: float | None = None,
    ) -> Self:
        """A molecule from a PDB file, without cutoff.

        Args:
            path: the PDB file; its positions are the reference structure.
            forcefield: OpenMM force-field files, by name or path, such as ["amber14-all.xml", "implicit/obc2.xml"].
            temperature: in K, or a Quantity.
            constraints: "HBonds", "AllBonds", "HAngles" or "none".
            name: the file's stem if not given.
            hydrogens_at_ph: adds hydrogens that are missing, as residues have them at this pH; None adds none.

        Raises:
            SystemNotFoundError: if there is no such file.
            FileFormatError: if it is no PDB file, a name stands twice in a residue, or positions are in nm.
            TemplateError: if the force field does not know a residue; names it and says what to do.
            TopologyError: if residues are missing within a chain, or an atom is out of place; names the atoms.
            OptionError: if the force field, the constraints or the temperature is impossible.

        Of several models the first is read, and of each residue the most occupied alternate location, with a warning.
        """
        files = file_names(forcefield)
        field = read_forcefield(files)
        parts = readers.from_structure(path, "PDB", field, files, constraints, hydrogens_at_ph)
        return cls(*parts, checked_temperature(temperature), name or Path(path).stem)

    @classmethod
    def from_mmcif(
        cls,
        path: str | Path,
        forcefield: ForceFieldFiles,
        temperature: Any = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        hydrogens_at_ph: float | None = None,
    ) -> Self:
        """A molecule from a PDBx/mmCIF file; everything else is as for `from_pdb`."""
        files = file_names(forcefield)
        field = read_forcefield(files)
        parts = readers.from_structure(path, "mmCIF", field, files, constraints, hydrogens_at_ph)
        return cls(*parts, checked_temperature(temperature), name or Path(path).stem)

    @classmethod
    def from_amber(
        cls,
        prmtop: str | Path,
        coordinates: str | Path,
        temperature: Any = 300.0,
        implicit_solvent: readers.ImplicitSolvent = "none",
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """A molecule from Amber's files, without cutoff; a box is left out.

        Args:
            prmtop: parameters and topology.
            coordinates: inpcrd or rst7, text or NetCDF; the reference structure.
            temperature: in K, or a Quantity.
            implicit_solvent: "none", "HCT", "OBC1", "OBC2", "GBn" or "GBn2".
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing, damaged, or holds what OpenMM cannot use.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is impossible.
        """
        parts = readers.from_amber(prmtop, coordinates, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(prmtop).stem)

    @classmethod
    def from_gromacs(
        cls,
        top: str | Path,
        gro: str | Path,
        temperature: Any = 300.0,
        include_folder: str | Path | None = None,
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """A molecule from GROMACS' files, without cutoff; a box is left out.

        Args:
            top: topology.
            gro: the reference structure.
            temperature: in K, or a Quantity.
            include_folder: where GROMACS' own force fields are (share/gromacs/top), if the topology includes them.
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing, damaged, or holds what OpenMM cannot use.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is impossible.
        """
        parts = readers.from_gromacs(top, gro, include_folder, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(top).stem)

    @classmethod
    def from_charmm(
        cls,
        psf: str | Path,
        structure: str | Path,
        parameters: Sequence[str | Path],
        temperature: Any = 300.0,
        implicit_solvent: readers.ImplicitSolvent = "none",
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """A molecule from CHARMM's files, without cutoff.

        Args:
            psf: CHARMM's (or NAMD's) protein structure file.
            structure: positions as PDB or CRD; the reference structure.
            parameters: rtf, prm and str files.
            temperature: in K, or a Quantity.
            implicit_solvent: as in `from_amber`.
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing, damaged, or lacks parameters.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is impossible.
        """
        parts = readers.from_charmm(psf, structure, parameters, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(psf).stem)

    @classmethod
    def from_sequence(
        cls,
        letters: str,
        forcefield: ForceFieldFiles = ("amber14-all.xml", "implicit/obc2.xml"),
        caps: bool = True,
        temperature: Any = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        ph: float = 7.0,
    ) -> Self:
        """A peptide: a stretched chain of ideal geometry, minimised; all centres L, all peptide bonds trans.

        Args:
            letters: one-letter codes of amino acids, such as "AAA".
            forcefield: names of OpenMM force-field files.
            caps: acetyl and methylamide at the ends (ACE, NME) instead of charged ends.
            temperature: in K, or a Quantity.
            constraints: as in `from_pdb`.
            name: the letters if not given.
            ph: which sets the hydrogens.

        Raises:
            OptionError: if a letter is none of the twenty, or an option is impossible.
            MissingDependencyError: if PeptideBuilder is not installed (the extra "sequence").

        >>> import boltzflow as bf
        >>> bf.MolecularSystem.from_sequence("AAA")  # doctest: +SKIP
        MolecularSystem('AAA', 42 atoms, 300 K)
        """
        parts = sequence.from_sequence(letters, caps, forcefield, constraints, ph)
        return cls(*parts, checked_temperature(temperature), name or letters)

    def __repr__(self) -> str:
        return f"MolecularSystem({self.name!r}, {self.n_atoms} atoms, {self.temperature:g} K)"

    # -- reading -----------------------------------------------------------------------------------

    @property
    def openmm_system(self) -> openmm.System:
        """A copy of the Hamiltonian; itself if it holds a PythonForce."""
        return copy_system(self._system)

    @property
    def n_atoms(self) -> int:
        """The number of atoms N."""
        return len(self._positions)

    @property
    def positions(self) -> NDArray[np.float64]:
        """A copy of the reference structure (N, 3), nm."""
        return self._positions.copy()

    @cached_property
    def atom_names(self) -> tuple[str, ...]:
        """A name for each atom, such as "ALA2-CA"; with the chain's id in front if there are several chains."""
        chains = self.topology.getNumChains() > 1
        return tuple(
            f"{a.residue.chain.id + ':' if chains else ''}{a.residue.name}{a.residue.id}-{a.name}"
            for a in self.topology.atoms()
        )

    @cached_property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """Pairs of atom indices."""
        return tuple((bond.atom1.index, bond.atom2.index) for bond in self.topology.bonds())

    @cached_property
    def mdtraj_topology(self) -> mdtraj.Topology:
        """The topology as mdtraj has it."""
        return mdtraj.Topology.from_openmm(self.topology)

    # -- making ------------------------------------------------------------------------------------

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
        if backend == "openmm":
            return OpenMMPotential(self._system, **options)
        if backend == "torch":
            return TorchPotential(self._system, **options)
        if backend != "auto":
            raise OptionError(f"Expected backend 'auto', 'torch' or 'openmm'; got {backend!r}.")
        if options:
            raise OptionError(f"Expected backend 'torch' or 'openmm' with options ({', '.join(options)}); got 'auto'.")
        try:
            return TorchPotential(self._system)
        except UnsupportedForceError as error:
            warnings.warn(f"Energies come from OpenMM, frame by frame, which is slower: {error}", stacklevel=2)
            return OpenMMPotential(self._system)

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
        if core is None and trajectory is not None:
            raise OptionError("Expected a trajectory together with a core, whose modes it gives; got it without.")
        chosen = [] if core is None else self._select(core)
        if core is not None and len(chosen) < 3:
            raise OptionError(f"Expected at least 3 atoms in the core; got {len(chosen)} by {core!r}.")
        internal = internal_coordinates(
            self.topology,
            self._system,
            self._positions,
            self.atom_names,
            self.bonds,
            self.energies_along,
            self.temperature,
            lengths,
            labels,
            separation,
            chosen,
        )
        if core is None:
            return internal
        return mixed_coordinates(
            internal, chosen, self._system, torch.from_numpy(self.positions), self.temperature, trajectory
        )

    def cut_off(self, coordinates: MolecularCoordinates, temperature: Any = None) -> dict[str, float]:
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
        internal, numbers = coordinates, None
        if isinstance(coordinates, MixedCoordinates):
            internal, numbers = coordinates.internal, coordinates.rest
        if not isinstance(internal, InternalCoordinates):
            return {}
        return internal.cut_off(self._positions, profiles, kelvin, numbers)

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
        frozen = self._select(atoms)
        if not 0 < len(frozen) < self.n_atoms:
            raise OptionError(f"Expected some of the {self.n_atoms} atoms to freeze; got {len(frozen)} by {atoms!r}.")
        system = frozen_copy(self._system, frozen)
        return type(self)(self.topology, system, self._positions, self.temperature, self.name)

    def _select(self, atoms: str | Sequence[int]) -> list[int]:
        """Indices, ascending, of some atoms or of a selection of mdtraj."""
        try:
            chosen = self.mdtraj_topology.select(atoms) if isinstance(atoms, str) else atoms
        except Exception as error:  # mdtraj's parser raises several
            raise OptionError(f"Expected a selection of mdtraj; got {atoms!r}: {error}.") from None
        selected = sorted({int(atom) for atom in chosen})
        if selected and not 0 <= selected[0] <= selected[-1] < self.n_atoms:
            raise OptionError(f"Expected atoms from 0 to {self.n_atoms - 1}; got {selected[0]} to {selected[-1]}.")
        return selected

    def rigid_dynamics_log_factor(self, positions: Tensor) -> Tensor:
        """What dynamics with this system's constraints samples beside e^{−u} at fixed values: ½ log det Z (batch,).

        See `boltzflow.coordinates.rigid_dynamics_log_factor`. positions: (batch, N, 3), nm.
        """
        return rigid_dynamics_log_factor(positions, constraints(self._system), self._masses)

    @property
    def _masses(self) -> list[float]:
        """In dalton."""
        return [self._system.getParticleMass(i).value_in_unit(u.dalton) for i in range(self.n_atoms)]

    def target(self, temperature: Any = None) -> BoltzmannTarget:
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
        frozen = frozen_atoms(self._system)
        # What is frozen stays in its place and is like no other atom.
        places = [i if i in frozen else -1 for i in range(self.n_atoms)]
        return find_symmetry(
            self.bond_graph.neighbours,
            list(zip(self.bond_graph.numbers, self._masses, places, strict=True)),
            self.atom_names,
            eager_potential(self._system),
            torch.from_numpy(self.positions),
        )

    def label_orders(self, coordinates: MolecularCoordinates) -> Tensor:
        """The reference structure, and behind it one with equivalent atoms exchanged, if labels are free (n, N, 3), nm.

        At each centre of four neighbours two atoms of one element that are bonded to nothing else are exchanged,
        where the domain of the coordinates holds both orders.
        """
        return label_orders(self.bond_graph, torch.from_numpy(self.positions), coordinates)

    @cached_property
    def bond_graph(self) -> BondGraph:
        """The bonds as a graph, with elements and names."""
        numbers = [atom.element.atomic_number if atom.element else 0 for atom in self.topology.atoms()]
        return BondGraph(self.bonds, numbers, self.atom_names)

    # -- to and from plain data --------------------------------------------------------------------

    @property
    def specification(self) -> dict[str, Any]:
        """Everything that rebuilds this system, as JSON-able values; see `from_specification`.

        Raises:
            UnsupportedForceError: if the Hamiltonian holds a PythonForce: what loads it again would execute code.
        """
        return {
            "name": self.name,
            "temperature": self.temperature,
            "topology": topology_to_plain(self.topology),
            "system": system_to_xml(self._system),
            "positions": self.positions.tolist(),
        }

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> Self:
        """Rebuild from `specification`.

        Raises:
            FileFormatError: if the System's XML is damaged, the name is no text, or a position is not finite.
            UnsupportedForceError: if it holds a PythonForce, which would run code.
        """
        if not (isinstance(specification["name"], str) and np.isfinite(specification["positions"]).all()):
            raise FileFormatError("Expected a name, and positions that are finite.")
        return cls(
            topology_from_plain(specification["topology"]),
            system_from_xml(specification["system"]),
            specification["positions"],
            specification["temperature"],
            specification["name"],
        )
