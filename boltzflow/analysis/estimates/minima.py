"""The potential-energy minima that samples relax to: inherent structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.analysis.estimates.invariants import Invariants, alike
from boltzflow.arrays import Array
from boltzflow.energies import Potential
from boltzflow.energies.potential import in_parts
from boltzflow.errors import ConvergenceError
from boltzflow.molecules import MolecularSystem
from boltzflow.simulation import Minimum, Particles, minimize, polish

_CLASHES, _FORCE = 1000.0, 0.2  # kJ/(mol nm): the largest force when clashes have gone, and at a minimum
_ENERGY = 0.1  # kJ/mol by which energies of one minimum may differ
_MAX_STEPS = 20_000


@dataclass(frozen=True)
class Minima:
    """The minima that structures relax to.

    Attributes:
        positions: (k, N, 3) in nm.
        energies: (k,) in kJ/mol, ascending.
        labels: (n,) the minimum of each structure.
    """

    positions: Array
    energies: Array
    labels: NDArray[np.int64]


def relax(system: MolecularSystem, positions: NDArray[np.float32]) -> Minima:
    """Minimise the energy of structures until no force exceeds 0.2 kJ/(mol nm), and merge equal minima.

    Minima are equal if they agree (see `alike`) and their energies differ by less than 0.1 kJ/mol. Exchanges of
    equivalent atoms do not count as differences; mirror images do.

    Args:
        system: the molecule.
        positions: (n, N, 3) in nm.

    Raises:
        ConvergenceError: if a minimisation does not end.
        NonFiniteError: if a structure has no finite energy.
    """
    potential, particles = system.potential(), Particles.of(system)
    found = [_minimum(potential, particles, part.double()) for part in in_parts(positions)]
    if left := sum(int((~part.converged).sum()) for part in found):
        raise ConvergenceError(
            f"Expected minimisations to end within {_MAX_STEPS} steps; {left} of {len(positions)} did not."
        )
    x = torch.cat([part.positions for part in found]).numpy()
    energies = torch.cat([part.energies for part in found]).numpy()
    features = Invariants(system.bond_graph, system.mdtraj_topology)(x)
    minima, of_minimum = np.unique(alike(features, energies, _ENERGY), return_inverse=True)
    order = np.argsort(energies[minima], kind="stable")
    return Minima(x[minima[order]], energies[minima[order]], np.argsort(order)[of_minimum])


def _minimum(potential: Potential, particles: Particles, positions: Tensor) -> Minimum:
    rough = minimize(potential, positions, particles, tolerance=_CLASHES, max_steps=_MAX_STEPS)
    return polish(potential, rough.positions, particles, tolerance=_FORCE, max_steps=_MAX_STEPS)
