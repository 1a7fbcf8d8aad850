"""The particles of a simulation: masses, constrained distances and degrees of freedom."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import openmm
import openmm.unit as u
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from boltzflow.energies.forcefield.virtual_sites import VirtualSites
from boltzflow.errors import OptionError, ShapeError
from boltzflow.molecules import MolecularSystem
from boltzflow.molecules.parameters import masses as masses_of
from boltzflow.simulation.constraints import Constraints


class Particles:
    """Masses and constraints of the particles of a potential.

    A particle of mass 0 does not move, unless it is a virtual site.

    Args:
        masses: (N,) in dalton.
        pairs: pairs of atoms with constrained distances.
        lengths: these distances in nm.
        reference: a structure (N, 3) in nm, from which the angles between constraints are taken.
        sites: virtual sites. The potential places them and transfers their forces to their parent atoms, so the
            dynamics move only real atoms. The sites are placed when positions are returned.

    Raises:
        OptionError: if no mass is positive, a mass is negative or not finite, or a constraint is invalid.
        ShapeError: if the shapes of the arguments do not match.

    >>> Particles([12.0, 1.0, 1.0], [(0, 1), (0, 2)], [0.1, 0.1], torch.eye(3)).degrees_of_freedom
    7
    """

    def __init__(
        self,
        masses: Sequence[float] | Tensor,
        pairs: Sequence[tuple[int, int]] = (),
        lengths: Sequence[float] = (),
        reference: ArrayLike | Tensor | None = None,
        sites: VirtualSites | None = None,
    ) -> None:
        self.sites = sites
        self.masses = torch.as_tensor(masses, dtype=torch.float64)
        sound = bool(((self.masses >= 0) & self.masses.isfinite()).all() & self.masses.any())
        if self.masses.dim() != 1 or not sound:
            kind = OptionError if self.masses.dim() == 1 else ShapeError
            raise kind(f"Expected masses (N,) ≥ 0 in dalton, one of them positive; got {self.masses.tolist()}.")
        self.inverse_masses = torch.where(self.masses > 0, 1 / self.masses, 0.0)
        self.constraints: Constraints | None = None
        if len(pairs):
            if reference is None:
                raise ShapeError("Expected a reference structure (N, 3) together with constraints; got none.")
            structure = torch.as_tensor(reference)
            self.constraints = Constraints(pairs, lengths, self.inverse_masses, structure)

    @classmethod
    def of(cls, system: MolecularSystem, hydrogen_mass: float | None = None) -> Self:
        """The particles of a molecule; constraints between particles that do not move are left out, as in OpenMM.

        Args:
            system: the molecule.
            hydrogen_mass: the mass of each hydrogen in dalton; the difference is subtracted from the bonded heavy atom
                (Hopkins et al. 2015, DOI 10.1021/ct5010406). This allows a longer time step and does not change the
                distribution of structures. None keeps the masses of the System.

        Raises:
            OptionError: if an atom would have no positive mass left; names the atom.
            UnsupportedForceError: if the kind of a virtual site is unknown.
        """
        hamiltonian = system.openmm_system
        masses = masses_of(hamiltonian)
        if hydrogen_mass is not None:
            _repartition(system, masses, hydrogen_mass)
        found = [_constraint(hamiltonian, i) for i in range(hamiltonian.getNumConstraints())]
        kept = [(i, j, length) for i, j, length in found if masses[i] or masses[j]]
        sites = any(hamiltonian.isVirtualSite(i) for i in range(system.n_atoms))
        return cls(
            masses,
            [c[:2] for c in kept],
            [c[2] for c in kept],
            system.positions,
            VirtualSites(hamiltonian) if sites else None,
        )

    def __len__(self) -> int:
        return len(self.masses)

    @property
    def degrees_of_freedom(self) -> int:
        """Three for each particle that moves, minus one for each constraint."""
        return 3 * int((self.masses > 0).sum()) - (len(self.constraints) if self.constraints else 0)

    def like(self, x: Tensor) -> Particles:
        """The same particles in the dtype and on the device of `x`."""
        other = copy.copy(self)
        other.masses, other.inverse_masses = self.masses.to(x), self.inverse_masses.to(x)
        if self.constraints is not None:
            other.constraints = copy.deepcopy(self.constraints).to(dtype=x.dtype, device=x.device)
        if self.sites is not None:
            other.sites = copy.deepcopy(self.sites).to(dtype=x.dtype, device=x.device)
        return other

    def placed(self, x: Tensor) -> Tensor:
        """The positions (3, N, batch) with virtual sites placed."""
        return x if self.sites is None else self.sites(x)


def _repartition(system: MolecularSystem, masses: list[float], hydrogen_mass: float) -> None:
    """Set the mass of each hydrogen that is bonded to a heavier atom, in place."""
    light = [atom.element is not None and atom.element.atomic_number == 1 for atom in system.topology.atoms()]
    for bond in system.bonds:
        for hydrogen, other in (bond, bond[::-1]):
            if light[hydrogen] and not light[other] and masses[hydrogen] > 0:
                masses[other] -= hydrogen_mass - masses[hydrogen]
                masses[hydrogen] = hydrogen_mass
                if not (masses[other] > 0.0 and hydrogen_mass > 0.0):
                    raise OptionError(
                        f"A hydrogen mass of {hydrogen_mass:g} dalton leaves {masses[other]:g} for "
                        f"{system.atom_names[other]}."
                    )


def _constraint(system: openmm.System, index: int) -> tuple[int, int, float]:
    i, j, length = system.getConstraintParameters(index)
    return i, j, length.value_in_unit(u.nanometer)
