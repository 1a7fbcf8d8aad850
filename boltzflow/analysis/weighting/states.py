"""Thermodynamic states, and the reduced energies of all samples in all states."""

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

_ROUNDING = 0.1  # of log q, from inverting a flow


@dataclass(frozen=True, eq=False)
class BoltzmannState:
    """The Boltzmann distribution of a Hamiltonian at a temperature: reduced energy (U + bias)/kT.

    Args:
        potential: U in kJ/mol, such as `system.potential()`. States that differ only in temperature should share one
            object: its energies are then evaluated once.
        temperature: in K.
        name: unique among the states.
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
        """(U + bias)/kT of frames (n, N, 3) in nm; `energy` may cache its results."""
        bias = 0.0 if self.bias is None else energy(self.bias, positions)
        return (energy(self.potential, positions) + bias) / thermal_energy(self.temperature)


@dataclass(frozen=True, eq=False)
class GeneratorState:
    """The density q of a generator: reduced energy −log q, normalised (log Z = 0).

    It sets an absolute scale for the other states: their f = −log Z then have no unknown constant.

    Args:
        generator: trained; without stochastic layers.
        name: unique among the states.
        temperature: in K, for a generator of a temperature range; its own if not given.
    """

    generator: BoltzmannGenerator
    name: str = "generator"
    temperature: float | None = None

    def __post_init__(self) -> None:
        kelvin = self.generator.temperature if self.temperature is None else checked_temperature(self.temperature)
        object.__setattr__(self, "temperature", kelvin)


State = BoltzmannState | GeneratorState


class ReducedEnergies(NamedTuple):
    """The input of MBAR, in pymbar's layout.

    Attributes:
        u_kn: (K, N) in kT: each sample in each state, with samples in the order of their states; +inf where a state has
            density zero.
        counts: (K,) number of samples of each state.
    """

    u_kn: Array
    counts: NDArray[np.int64]


def reduced_energies(states: Sequence[State], samples: Sequence[Frames | None]) -> ReducedEnergies:
    """The reduced energies of samples of several states in all of these states.

    Args:
        states: K of them, with different names.
        samples: of each state, K of them; None for a state without samples, to which results are extrapolated. Samples
            of a Boltzmann state are equally weighted frames of a simulation. Samples of a generator state are those
            that the generator sampled; their weights are not used. Frames must be independent, so an ensemble must not
            have groups.

    Raises:
        OptionError: if names are not unique, or the numbers of states and samples differ.
        InsufficientDataError: if no state has samples.
        DataError: if an ensemble of a Boltzmann state is weighted or at another temperature, an ensemble of a generator
            state was not sampled from this generator at this temperature, or frames share a group.
        ShapeError: if frames have different numbers of atoms.
        NonFiniteError: if a sample has density zero in its own state.
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
        raise ShapeError(f"Expected frames with equal numbers of atoms; got {shapes}.")
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
                row[end - count : end] = -frames.log_q  # as sampled, since inverting the flow adds rounding
        rows.append(np.where(np.isnan(row), np.inf, row))
    u_kn = np.stack(rows)
    for k, (state, frames, end, count) in enumerate(zip(states, samples, ends, counts, strict=True)):
        impossible = np.flatnonzero(np.isposinf(u_kn[k, end - count : end])) + end - count
        if len(impossible) == 0:
            continue
        if isinstance(state, GeneratorState) and isinstance(frames, Ensemble) and frames.log_q is not None:
            # A sample without a finite weight counts among the samples, but has no weight in any other state.
            u_kn[:, impossible] = np.inf
            u_kn[k, impossible] = 0.0
            continue
        raise NonFiniteError(
            f"Expected samples of {state.name!r} with positive density in this state; {len(impossible)} of {count} "
            f"have none (the first is frame {impossible[0] - end + count})."
        )
    return ReducedEnergies(u_kn, counts)


@torch.no_grad()
def log_density(
    generator: BoltzmannGenerator, positions: NDArray[Any], temperature: Temperature | None = None
) -> Array:
    """log q (n,) of frames (n, N, 3) in nm, in batches: −inf outside the domain of the generator's coordinates.

    Cartesian measure, rigid motion integrated out.

    Raises:
        OptionError: if the generator does not cover the temperature.
        IntractableDensityError: if it has stochastic layers.
    """
    parts = [generator.log_prob(x, temperature=temperature) for x in in_parts(positions, generator.like)]
    log_q = torch.cat(parts).double().cpu()
    return torch.where(log_q.isnan(), -torch.inf, log_q).numpy()


def positions_of(frames: Frames) -> NDArray[Any]:
    """The positions (n, N, 3) in nm.

    Raises:
        ShapeError: if the shape is wrong.
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
            f"Expected finite positions; got NaN or infinity in {len(broken)} frames, the first of them {broken[0]}."
        )
    return array


def samples_of(name: str, frames: Frames, temperature: float | None) -> NDArray[Any]:
    """The positions (n, N, 3) of independent, equally weighted samples of a state.

    Args:
        name: of the state.
        frames: its samples.
        temperature: of a simulation, in K; None for samples of a generator, whose weights are not used.

    Raises:
        DataError: if an ensemble is weighted or at another temperature, samples of a generator have no log q, or
            several frames belong to one group.
        ShapeError: if these are not frames.
    """
    if isinstance(frames, Ensemble):
        if temperature is None and frames.log_q is None:
            raise DataError(
                f"Expected samples of {name!r} with their log q; this ensemble has none, as after `resample` or "
                "`accept`, or with stochastic layers: pass the result of `generator.sample` of a flow without them."
            )
        if temperature is not None:
            if np.ptp(frames.log_weights) > 1e-9:
                raise DataError(
                    f"Expected equally weighted samples of {name!r}; got weighted samples: assign them to the state "
                    "that they were sampled from, a GeneratorState or a BoltzmannState with its bias."
                )
            check_temperature(name, frames, temperature)
        if frames.groups is not None and (groups := len(np.unique(frames.groups))) < len(frames):
            raise DataError(
                f"Expected independent samples of {name!r}; got {len(frames)} frames in {groups} groups: instead of "
                "resampled copies pass the original ensemble, subsample chains one by one with `decorrelated`, or "
                "pass one frame of each group."
            )
    return positions_of(frames)


def check_temperature(name: str, frames: Ensemble, temperature: float) -> None:
    """Raise unless an ensemble has this temperature in K.

    Raises:
        DataError: if it has another one.
    """
    if abs(frames.temperature - temperature) > 1e-6 * temperature:
        raise DataError(
            f"Expected samples of {name!r} at {temperature:g} K; got an ensemble at {frames.temperature:g} K."
        )


def check_drawn(name: str, log_q: Array, found: Array) -> None:
    """Raise unless the log q (n,) stored with samples equals the generator's own, apart from rounding in a few frames.

    Raises:
        DataError: if they differ: the samples are from another generator, or at another temperature.
    """
    known = np.isfinite(log_q)
    off = float(np.median(np.abs(found[known] - log_q[known]))) if known.any() else 0.0
    if off > _ROUNDING:
        raise DataError(
            f"Expected samples of {name!r} at this temperature; got samples whose log q differs from its own by "
            f"{off:.2g}: they are from another generator, or at another temperature."
        )


def _simulated_at(state: State) -> float | None:
    return state.temperature if isinstance(state, BoltzmannState) else None
