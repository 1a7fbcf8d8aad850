"""Existing frames, weighted for another Hamiltonian or temperature, or under a generator's density."""

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
    """Weight the frames of a simulation for another Hamiltonian or temperature.

    Specify what the simulation sampled in one of three ways: by its state, by its energies, or by a bias on the
    target's potential. The weights are exp(u_sampled − u_target) with reduced energies u. A bias must not have changed
    while frames were recorded. Check the weights with `diagnose`.

    Args:
        trajectory: frames in nm, equally weighted. The result keeps the groups of an ensemble.
        target: the distribution to reweight to.
        sampled: the state that the frames are from; its energies are evaluated here.
        energies: alternatively the energies (n,) in kJ/mol of the simulation, including any bias.
        bias: alternatively the bias energies (n,) in kJ/mol that the simulation added to the target's potential.
        temperature: of the simulation in K, for energies or bias. By default that of an ensemble of frames, otherwise
            that of the target.

    Returns:
        An ensemble at the target's temperature with the energies of its potential. Its log Z is relative to that of the
        simulation.

    Raises:
        OptionError: if not exactly one of sampled, energies and bias is given, or a temperature is given with a state.
        DataError: if an ensemble of frames is weighted, or at another temperature than the given one.
        ShapeError: if there is not one energy for each frame, or the number of atoms differs.
        NonFiniteError: if an energy is NaN, or a frame of the simulation has an infinite energy in it.
    """
    if sum(given is not None for given in (sampled, energies, bias)) != 1:
        raise OptionError(
            "Expected exactly one of sampled, energies and bias, which describe what the simulation sampled."
        )
    if sampled is not None and temperature is not None:
        raise OptionError("Expected a temperature only with energies or bias; a state has its own.")
    if target.bias is not None:
        raise OptionError(f"Expected a target without bias; {target.name!r} has one.")
    kelvin = None if temperature is None else checked_temperature(temperature)
    if isinstance(trajectory, Ensemble):
        if np.ptp(trajectory.log_weights) > 1e-9:
            raise DataError(
                "Expected equally weighted frames of a simulation; got weighted frames: reweight these with "
                "`Ensemble.with_potential` or `Ensemble.at`, or make the weights equal with `resample`."
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
            f"Expected frames with finite energies in the simulation; {impossible.sum()} have infinite energies."
        )
    log_weights = np.where(np.isfinite(new), was - new / thermal_energy(target.temperature), -np.inf)
    if isinstance(trajectory, Ensemble):
        return trajectory.replace(energies=new, temperature=target.temperature, log_weights=log_weights)
    topology = None if isinstance(trajectory, np.ndarray) else trajectory.topology
    return Ensemble(positions, new, target.temperature, log_weights, topology=topology)


def log_weights_of(generator: BoltzmannGenerator, frames: Frames, temperature: Temperature | None = None) -> Array:
    """log p − log q (n,) of given frames, p = exp(−U/kT): +inf outside the generator's domain.

    For equilibrium frames, such as those of a simulation, this is the distribution of log-weights under p.

    Args:
        generator: without stochastic layers.
        frames: n of them, nm.
        temperature: in K, for a generator of a temperature range.

    Raises:
        OptionError: if the generator does not cover the temperature.
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
