"""Frames that are there already, weighted for another Hamiltonian or temperature, or seen by a generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from boltzflow.analysis.weighting.states import BoltzmannState, Frames, check_temperature, log_density, positions_of
from boltzflow.arrays import Array
from boltzflow.energies.potential import energies_of_frames
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, OptionError, ShapeError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import Temperature, checked_temperature, thermal_energy


def reweight(
    trajectory: Frames,
    target: BoltzmannState,
    *,
    sampled: BoltzmannState | None = None,
    energies: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    temperature: Temperature | None = None,
) -> Ensemble:
    """Frames of a simulation, weighted for another Hamiltonian or temperature than it had.

    What the simulation sampled is told in one of three ways: by its state, by its energies, or by a bias that it had
    beside the target's own potential. Weights are exp(u_sampled − u_target) with reduced energies u. A bias must have
    been fixed while frames were recorded. `diagnose` says whether they are worth anything.

    Args:
        trajectory: frames in nm, each worth the same; groups of an ensemble are those of the result.
        target: the distribution that is wanted.
        sampled: the state that the frames are from, evaluated here.
        energies: or the energies (n,) in kJ/mol that the simulation moved in, any bias included.
        bias: or the bias energies (n,) in kJ/mol that the simulation added to the target's potential.
        temperature: of the simulation in K, for energies or bias; if not given that of an ensemble of frames, else
            that of the target.

    Returns:
        An ensemble at the target's temperature with the energies of its potential; its log Z is relative to that of
        the simulation.

    Raises:
        OptionError: if not exactly one of sampled, energies and bias is given, or a temperature with a state.
        DataError: if an ensemble of frames is weighted, or of another temperature than the one that is given.
        ShapeError: if there is not one energy for each frame, or the number of atoms is another.
        NonFiniteError: if an energy is NaN, or infinite where the simulation has been.
    """
    if sum(given is not None for given in (sampled, energies, bias)) != 1:
        raise OptionError("Expected one of sampled, energies and bias, for what the simulation has sampled.")
    if sampled is not None and temperature is not None:
        raise OptionError("Expected a temperature with energies or bias; a state has its own.")
    if target.bias is not None:
        raise OptionError(f"Expected a target without bias; {target.name!r} has one.")
    kelvin = None if temperature is None else checked_temperature(temperature)
    if isinstance(trajectory, Ensemble):
        if np.ptp(trajectory.log_weights) > 1e-9:
            raise DataError(
                "Expected frames of a simulation, each worth the same; these have weights. `Ensemble.with_potential` "
                "and `Ensemble.at` take weighted frames to another distribution; `resample` makes the weights equal."
            )
        if sampled is not None:
            check_temperature(sampled.name, trajectory, sampled.temperature)
        kelvin = trajectory.temperature if kelvin is None else kelvin
        check_temperature("the simulation", trajectory, kelvin)
    positions = positions_of(trajectory)
    new = energies_of_frames(target.potential, positions)
    kt = thermal_energy(target.temperature if kelvin is None else kelvin)
    if sampled is not None:
        was = sampled.reduced(positions)
    elif energies is not None:
        was = _one_each(energies, len(positions), "energies") / kt
    else:
        assert bias is not None
        was = (new + _one_each(bias, len(positions), "bias energies")) / kt
    impossible = np.isinf(was) & np.isfinite(new)
    if impossible.any():
        raise NonFiniteError(
            f"Expected frames that the simulation could reach; {impossible.sum()} have infinite energies in it."
        )
    log_weights = np.where(np.isfinite(new), was - new / thermal_energy(target.temperature), -np.inf)
    if isinstance(trajectory, Ensemble):
        return trajectory.replace(energies=new, temperature=target.temperature, log_weights=log_weights)
    topology = None if isinstance(trajectory, np.ndarray) else trajectory.topology
    return Ensemble(positions, new, target.temperature, log_weights, topology=topology)


def log_weights_of(generator: BoltzmannGenerator, frames: Frames, temperature: Temperature | None = None) -> Array:
    """log p − log q (n,) of frames that are there, p = exp(−U/kT): +inf outside the generator's domain.

    For frames of the equilibrium, such as a simulation's, these are the weights as p sees them.

    Args:
        generator: without stochastic layers.
        frames: n of them, nm.
        temperature: in K, for a generator of a range of temperatures.

    Raises:
        OptionError: if the generator is not made for the temperature.
        IntractableDensityError: if it has stochastic layers.
    """
    positions = positions_of(frames)
    log_q = log_density(generator, positions, temperature)
    kt = thermal_energy(generator.temperature if temperature is None else temperature)
    energies = energies_of_frames(generator.potential, positions, like=generator.like)
    inside = log_q > -np.inf
    return np.where(inside, -energies / kt - np.where(inside, log_q, 0.0), np.inf)


def _one_each(values: ArrayLike, n: int, what: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise ShapeError(f"Expected {what} ({n},), one for each frame; got shape {array.shape}.")
    return array
