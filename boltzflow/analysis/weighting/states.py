"""Thermodynamic states, and the reduced energies of samples of all of them in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import mdtraj
import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.energies import Potential
from boltzflow.energies.potential import energies_of_frames, in_parts
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, InsufficientDataError, NonFiniteError, OptionError, ShapeError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import Temperature, checked_temperature, thermal_energy

Frames: TypeAlias = Ensemble | mdtraj.Trajectory | NDArray[Any]
"""Structures: an ensemble, a trajectory, or positions (n, N, 3) in nm."""

_ROUNDING = 0.1  # of log q, on the way back through a flow


@dataclass(frozen=True, eq=False)
class BoltzmannState:
    """The Boltzmann distribution of a Hamiltonian at a temperature: reduced energy (U + bias)/kT.

    Args:
        potential: U in kJ/mol, such as `system.potential()`; states that differ in temperature alone share one object,
            and then its energies are evaluated once.
        temperature: in K.
        name: which tells it from other states.
        bias: added to U, such as `boltzflow.simulation.torsion_umbrella`.
    """

    potential: Potential
    temperature: float
    name: str
    bias: Potential | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", checked_temperature(self.temperature))

    def reduced(
        self, positions: NDArray[Any], energy: Callable[[Potential, NDArray[Any]], Array] = energies_of_frames
    ) -> Array:
        """(U + bias)/kT of frames (n, N, 3) in nm; `energy` may remember what it has evaluated."""
        bias = 0.0 if self.bias is None else energy(self.bias, positions)
        return (energy(self.potential, positions) + bias) / thermal_energy(self.temperature)


@dataclass(frozen=True, eq=False)
class GeneratorState:
    """The density q of a generator: reduced energy −log q, whose log Z is known to be 0.

    It ties the other states to an absolute scale: their f = −log Z then have no constant left open.

    Args:
        generator: trained; without stochastic layers.
        name: which tells it from other states.
        temperature: in K, for a generator of a range of temperatures; its own if not given.
    """

    generator: BoltzmannGenerator
    name: str = "generator"
    temperature: float | None = None

    def __post_init__(self) -> None:
        kelvin = self.generator.temperature if self.temperature is None else checked_temperature(self.temperature)
        object.__setattr__(self, "temperature", kelvin)


State = BoltzmannState | GeneratorState


class ReducedEnergies(NamedTuple):
    """What MBAR is made from, in pymbar's layout.

    Attributes:
        u_kn: (K, N) in kT: each sample in each state, samples in the order of the states that they are from; +inf
            where a state has density zero.
        counts: (K,) how many samples each state has.
    """

    u_kn: Array
    counts: NDArray[np.int64]


def reduced_energies(states: Sequence[State], samples: Sequence[Frames | None]) -> ReducedEnergies:
    """The reduced energies of samples of several states in all of these states.

    Args:
        states: K of them, with different names.
        samples: of each state, K of them; None for a state without samples, to which is extrapolated. Those of a
            Boltzmann state are frames of a simulation of it, each worth the same; those of a generator's are what it
            has drawn, without their weights. Frames of an ensemble must not be in groups: all are independent.

    Raises:
        OptionError: if names are not unique, or states and samples do not pair up.
        InsufficientDataError: if none has samples.
        DataError: if an ensemble of a Boltzmann state has weights or another temperature, one of a generator's was
            not drawn from it as it is at that temperature, or frames share a group.
        ShapeError: if frames have another number of atoms.
        NonFiniteError: if a sample has density zero in the state that it is said to be from.
        IntractableDensityError: if a generator has stochastic layers.
    """
    names = [state.name for state in states]
    if len(set(names)) < len(names) or len(states) != len(samples):
        raise OptionError(
            f"Expected states of different names, each with samples or None; got {', '.join(names)} and "
            f"{len(samples)} sets of samples."
        )
    parts = [
        None if frames is None else samples_of(state.name, frames, _simulated_at(state))
        for state, frames in zip(states, samples, strict=True)
    ]
    counts = np.array([0 if part is None else len(part) for part in parts])
    present = [part for part in parts if part is not None]
    if not present or counts.sum() == 0:
        raise InsufficientDataError("Expected samples of at least one state; got none.")
    if len({part.shape[1:] for part in present}) > 1:
        shapes = ", ".join(str(part.shape) for part in present)
        raise ShapeError(f"Expected frames of one number of atoms; got {shapes}.")
    positions = np.concatenate(present)
    known: dict[int, Array] = {}

    def energy(potential: Potential, positions: NDArray[Any]) -> Array:
        if id(potential) not in known:
            known[id(potential)] = energies_of_frames(potential, positions)
        return known[id(potential)]

    ends = np.cumsum(counts)
    rows = []
    for state, frames, end, count in zip(states, samples, ends, counts, strict=True):
        if isinstance(state, BoltzmannState):
            row = state.reduced(positions, energy)
        else:
            row = -log_density(state.generator, positions, state.temperature)
            if isinstance(frames, Ensemble) and frames.log_q is not None:
                check_drawn(state.name, frames.log_q, -row[end - count : end])
                row[end - count : end] = -frames.log_q  # as drawn: the way back through the flow rounds
        rows.append(np.where(np.isnan(row), np.inf, row))
    u_kn = np.stack(rows)
    for k, (state, frames, end, count) in enumerate(zip(states, samples, ends, counts, strict=True)):
        impossible = np.flatnonzero(np.isposinf(u_kn[k, end - count : end])) + end - count
        if len(impossible) == 0:
            continue
        if isinstance(state, GeneratorState) and isinstance(frames, Ensemble) and frames.log_q is not None:
            # Drawn, but nothing can be said of it: it counts among the samples and has no weight in any other state.
            u_kn[:, impossible] = np.inf
            u_kn[k, impossible] = 0.0
            continue
        raise NonFiniteError(
            f"Expected samples of {state.name!r} that have a density there; {len(impossible)} of {count} have none "
            f"(the first is frame {impossible[0] - end + count})."
        )
    return ReducedEnergies(u_kn, counts)


@torch.no_grad()
def log_density(
    generator: BoltzmannGenerator, positions: NDArray[Any], temperature: Temperature | None = None
) -> Array:
    """log q (n,) of frames (n, N, 3) in nm, some at a time: −inf outside the domain of the generator's coordinates.

    Cartesian measure, rigid motion integrated out.

    Raises:
        OptionError: if the generator is not made for the temperature.
        IntractableDensityError: if it has stochastic layers.
    """
    parts = [generator.log_prob(x, temperature=temperature) for x in in_parts(positions, generator.like)]
    log_q = torch.cat(parts).double().cpu()
    return torch.where(log_q.isnan(), -torch.inf, log_q).numpy()


def positions_of(frames: Frames) -> NDArray[Any]:
    """The positions (n, N, 3) in nm.

    Raises:
        ShapeError: if it is something else.
        NonFiniteError: if a frame of a trajectory or array is not finite.
    """
    if isinstance(frames, Ensemble):
        return frames.positions
    array = np.asarray(frames.xyz if isinstance(frames, mdtraj.Trajectory) else frames)
    if array.ndim != 3 or array.shape[2] != 3 or len(array) == 0:
        raise ShapeError(f"Expected positions (n, N, 3) in nm, n ≥ 1; got shape {array.shape}.")
    broken = np.flatnonzero(~np.isfinite(array).all((1, 2)))
    if len(broken):
        raise NonFiniteError(
            f"Expected finite positions; frame {broken[0]} (of {len(broken)} such) has NaN or infinity."
        )
    return array


def samples_of(name: str, frames: Frames, temperature: float | None) -> NDArray[Any]:
    """The positions (n, N, 3) of independent samples of a state, each worth the same.

    Args:
        name: of the state.
        frames: its samples.
        temperature: in K, of a simulation of it; None for what a generator has drawn, whose weights do not matter.

    Raises:
        DataError: if an ensemble is weighted or of another temperature, has no log q though drawn by a generator, or
            has several frames of a group.
        ShapeError: if they are no frames.
    """
    if isinstance(frames, Ensemble):
        if temperature is None and frames.log_q is None:
            raise DataError(
                f"Expected what {name!r} has drawn, with its log q; this ensemble has none: it is from `resample` or "
                "`accept`, say, or from stochastic layers. Give what `generator.sample` returned, of a flow alone."
            )
        if temperature is not None:
            if np.ptp(frames.log_weights) > 1e-9:
                raise DataError(
                    f"Expected samples of {name!r} that are each worth the same; these have weights. Give them to "
                    "the state that they were drawn from: a GeneratorState, or a BoltzmannState with its bias."
                )
            check_temperature(name, frames, temperature)
        if frames.groups is not None and (groups := len(np.unique(frames.groups))) < len(frames):
            raise DataError(
                f"Expected independent samples of {name!r}, since errors take them for independent; got {len(frames)} "
                f"frames in {groups} groups. Give copies as the ensemble that they were drawn from, chains thinned by "
                "`decorrelated` one by one, or one frame of each group."
            )
    return positions_of(frames)


def check_temperature(name: str, frames: Ensemble, temperature: float) -> None:
    """An ensemble is of that temperature in K.

    Raises:
        DataError: if it is not.
    """
    if abs(frames.temperature - temperature) > 1e-6 * temperature:
        raise DataError(
            f"Expected samples of {name!r} at {temperature:g} K; got an ensemble of {frames.temperature:g} K."
        )


def check_drawn(name: str, log_q: Array, found: Array) -> None:
    """The log q (n,) that samples came with is what the generator finds for them, but for rounding of a few.

    Raises:
        DataError: if it is not: they are from another generator, or from this one at another temperature.
    """
    known = np.isfinite(log_q)
    off = float(np.median(np.abs(found[known] - log_q[known]))) if known.any() else 0.0
    if off > _ROUNDING:
        raise DataError(
            f"Expected what {name!r} draws at this temperature; the log q of the samples differs from its own by "
            f"{off:.2g}. They are of another generator, or of another temperature of this one."
        )


def _simulated_at(state: State) -> float | None:
    return state.temperature if isinstance(state, BoltzmannState) else None
