"""Internal coordinates of a molecule, or Cartesian coordinates of a core and internal coordinates of other atoms."""

from __future__ import annotations

from collections.abc import Sequence

import mdtraj
import openmm
import torch

from boltzflow.arrays import Array
from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.errors import OptionError
from boltzflow.molecules.placing.cartesian import mixed_coordinates
from boltzflow.molecules.placing.internal import InternalOptions, internal_coordinates


def placed(
    graph: BondGraph,
    system: openmm.System,
    positions: Array,
    options: InternalOptions,
    core: Sequence[int] | None,
    trajectory: mdtraj.Trajectory | None,
) -> MolecularCoordinates:
    """See `MolecularSystem.coordinates`; `core` lists atoms in ascending order."""
    if core is None:
        if trajectory is not None:
            raise OptionError("Expected a trajectory only together with a core; got a trajectory without a core.")
        return internal_coordinates(graph, system, positions, options)
    if len(core) < 3:
        raise OptionError(f"Expected at least 3 atoms in the core; got {len(core)}.")
    internal = internal_coordinates(graph, system, positions, options, core)
    return mixed_coordinates(internal, core, system, torch.from_numpy(positions), options.temperature, trajectory)
