"""The populations of all states of all torsions of a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boltzflow.analysis.estimates.observables import torsion_angles
from boltzflow.analysis.estimates.populations import States, state_populations
from boltzflow.analysis.estimates.torsion_states import TorsionStates, torsion_states
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError
from boltzflow.molecules import NamedTorsion, rotatable_torsions


@dataclass(frozen=True)
class Rotamers:
    """The states of one torsion and their populations, which sum to 1.

    Attributes:
        torsion: its name and atoms.
        arcs: the arcs of its states.
        states: the populations, by the name of the state, and the free energies between them. Their errors treat the
            arcs as fixed.
    """

    torsion: NamedTorsion
    arcs: TorsionStates
    states: States

    @property
    def has_several(self) -> bool:
        """Whether frames lie in more than one state."""
        return sum(population.frames > 0 for population in self.states.populations.values()) > 1


def rotamers(ensemble: Ensemble, torsions: Sequence[NamedTorsion] | None = None) -> list[Rotamers]:
    """The states of each torsion, see `torsion_states`, and their populations with errors and verdicts.

    The verdict of a population is the worse of that of the ensemble's weights and its own, see `Population`. It judges
    the samples at hand: a state that a sampler never visits has no frame, and is reported so only if the convention
    names it.

    Args:
        ensemble: n frames with a topology, their weights and groups.
        torsions: all of `rotatable_torsions` by default.

    Raises:
        DataError: if the ensemble has no topology.
        NonFiniteError: if no weight is positive, or a frame of positive weight has positions that are not finite.

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> frames = Ensemble(np.repeat(system.positions[None], 50, 0), None, 300.0, topology=system.mdtraj_topology)
    >>> [(name, found.value) for name, found in rotamers(frames)[0].states.populations.items()]
    [('gauche-', 0.0), ('gauche+', 0.0), ('trans', 1.0)]
    """
    if ensemble.topology is None:
        raise DataError("Expected samples with a topology; these have none.")
    chosen = rotatable_torsions(ensemble.topology) if torsions is None else torsions
    angles = angles_of(ensemble, chosen)
    return [rotamers_of(ensemble, torsion, values) for torsion, values in zip(chosen, angles.T, strict=True)]


def rotamers_of(ensemble: Ensemble, torsion: NamedTorsion, angles: Array) -> Rotamers:
    """The same for one torsion, whose angles (n,) in rad are known."""
    arcs = torsion_states(torsion, angles, ensemble.weights)
    labels = arcs.labels(angles)
    states = {name: labels == state for state, name in enumerate(arcs.names)}
    return Rotamers(torsion, arcs, state_populations(ensemble, states))


def angles_of(ensemble: Ensemble, torsions: Sequence[NamedTorsion]) -> Array:
    """Torsions (n, torsions) in rad; zero in frames of weight zero."""
    values: Array = ensemble.values(lambda trajectory: torsion_angles(trajectory, torsions)).astype(np.float64)
    return values


def conformations(frames: Ensemble, states: Sequence[Rotamers], most: int) -> list[list[str]]:
    """Names of structures by their torsions: "chi1 VAL2 trans"; an angle where the state has no chemist's name.

    Args:
        frames: n of them.
        states: of the molecule's torsions.
        most: number of torsions in a name. Those whose states differ among the frames come first, then φ and ψ.

    Returns:
        For each frame the torsions in their order, without those that have one state in all samples; but φ comes
        with ψ of its residue.

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> frames = Ensemble(np.repeat(system.positions[None], 50, 0), None, 300.0, topology=system.mdtraj_topology)
    >>> conformations(frames[:1], rotamers(frames), 4)
    [['torsion C1 C2 C3 C4 trans']]
    """
    angles = angles_of(frames, [one.torsion for one in states])
    labels = [one.arcs.labels(column) for one, column in zip(states, angles.T, strict=True)]

    def rank(k: int) -> tuple[bool, bool, int]:
        return len(set(labels[k].tolist())) == 1, states[k].torsion.kind not in ("phi", "psi"), k

    backbone = {one.torsion.place for one in states if one.has_several and one.torsion.kind == "psi"}
    several = [k for k, one in enumerate(states) if one.has_several or _is_phi_of(one, backbone)]
    several = several or list(range(len(states)))
    chosen = sorted(sorted(several, key=rank)[:most])
    return [
        [f"{states[k].torsion.name} {_told(states[k], angles[i, k], labels[k][i])}" for k in chosen]
        for i in range(len(frames))
    ]


def _is_phi_of(one: Rotamers, residues: set[str]) -> bool:
    return one.torsion.kind == "phi" and one.torsion.place in residues


def _told(one: Rotamers, angle: float, state: int) -> str:
    if one.torsion.kind == "phi" or one.arcs.names[state].endswith("°"):
        return f"{10 * round(np.degrees(angle) / 10):g}°"
    return one.arcs.names[state]
