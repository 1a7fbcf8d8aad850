"""Frames of which nothing but their weights matters."""

from __future__ import annotations

import mdtraj
import numpy as np
from numpy.typing import ArrayLike

from boltzflow.ensemble import Ensemble


def weighted(log_weights: ArrayLike, groups: ArrayLike | None = None) -> Ensemble:
    """Without energies, at 300 K."""
    return Ensemble(np.zeros((len(np.asarray(log_weights)), 1, 3)), None, 300.0, log_weights, groups=groups)


def equal(n: int, groups: ArrayLike | None = None) -> Ensemble:
    """Frames of equal weight."""
    return weighted(np.zeros(n), groups)


def one_atom() -> mdtraj.Topology:
    topology = mdtraj.Topology()
    topology.add_atom("A", mdtraj.element.carbon, topology.add_residue("A", topology.add_chain()))
    return topology
