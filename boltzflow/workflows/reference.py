"""Reference ensembles by parallel tempering in a directory: the workflow of `boltzflow reference`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.analysis.checks.references import REFERENCE, TORSIONS
from boltzflow.analysis.estimates.basins import POSITIVE_PHI
from boltzflow.analysis.estimates.torsion_states import TorsionStates, torsion_states
from boltzflow.capacity import check_disk, check_memory
from boltzflow.errors import InsufficientDataError, OptionError, RunDirectoryError
from boltzflow.simulation import (
    Langevin,
    NamedTorsion,
    ParallelTempering,
    Particles,
    Progress,
    TemperingOptions,
    TemperingResult,
    minimize,
    named_torsions,
    phi_umbrella,
    torsion_values,
)
from boltzflow.simulation.frames import KIND, VERSION
from boltzflow.simulation.tempering_run import FRAMES
from boltzflow.storage import claimed, replace_file, replacing
from boltzflow.tensorfile import read_tensors
from boltzflow.units import thermal_energy
from boltzflow.version import __version__
from boltzflow.workflows.config import ReferenceConfig
from boltzflow.workflows.needs import disk_of_reference, memory_of_reference
from boltzflow.workflows.training import CONFIG, build_system, can_go_on, check_unused

_TORSION_BYTES = 150_000  # of the frames in torsions.npz
_BINS = 36
_SAME_ANGLE = 0.999  # cosine of a difference that is rounding


def reference_run(
    config: ReferenceConfig, directory: Path, resume: bool, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Simulate, and write the results to `directory`; returns the content of reference.json.

    The directory then contains config.yaml; reference.json (energies and populations at all temperatures, with errors
    and settings); torsions.npz (histograms, and frames with weights); samples.dcd, topology.pdb and weights.npz of the
    lowest temperature; and frames/ and checkpoints/, from which a run with `resume` continues.

    A run that fails before its first checkpoint leaves no files.

    Raises:
        RunDirectoryError: if the directory already contains a run and `resume` is False, another process writes to it,
            or an earlier version recorded other torsions there.
        StorageError: if the directory is not writable, or is removed during the run.
        InsufficientDataError: if too few frames were recorded.
        OptionError: if the recorded time is too short, or memory or disk are too small.
        BoltzflowError: any error from building the system and sampling.
    """
    with claimed(directory, lambda error: can_go_on(directory, error)):
        if not resume:
            check_unused(directory)
        return _run(config, directory, resume, progress)


def _run(
    config: ReferenceConfig, directory: Path, resume: bool, progress: Callable[[Progress], None] | None
) -> dict[str, Any]:
    started = time.monotonic()
    system = build_system(config)
    torsions = named_torsions(system)
    timestep = config.timestep or (0.002 if system.openmm_system.getNumConstraints() else 0.001)
    if config.hottest <= system.temperature:
        raise OptionError(
            f"Expected a hottest temperature above the lowest, {system.temperature:g} K; got {config.hottest:g} K."
        )
    options = TemperingOptions(
        picoseconds=config.picoseconds,
        equilibration=config.equilibration,
        swap_every=50 * timestep,
        record_every=200 * timestep,
        seed=config.seed,
    )
    if options.records < 2 and not resume:  # a resumed run may have recorded more
        least = 2 * options.record_every
        raise OptionError(f"Expected at least {least:g} picoseconds, for two frames; got {config.picoseconds:g}.")
    check_memory(memory_of_reference(config, system.n_atoms), "ladders and temperatures")
    check_disk(directory, disk_of_reference(config, system.n_atoms, options.records), "frames of all ladders")
    particles = Particles.of(system, config.hydrogen_mass)
    potential = system.potential()
    sampler = ParallelTempering(
        Langevin(potential, particles, friction=config.friction, timestep=timestep),
        np.geomspace(system.temperature, config.hottest, config.temperatures).tolist(),
        config.ladders,
        bias=phi_umbrella(system, config.umbrella),
        observables=lambda x: torsion_values(x, torsions),
        keep=[0],
        topology=system.mdtraj_topology,
    )
    check_recorded(directory / FRAMES, torsions)
    config.write(directory / CONFIG)
    random = torch.Generator().manual_seed(config.seed)
    start = torch.from_numpy(system.positions).float()[None]
    positions = minimize(potential, start, particles, generator=random).positions[0]
    result = sampler.run(positions, options, directory=directory, resume=resume, progress=progress)
    # An earlier run may have recorded more than is requested now.
    recorded = len(result.energies) * options.record_every
    facts = {
        "system": system.name,
        "settings": config.model_dump(mode="json") | vars(options) | {"timestep": timestep, "picoseconds": recorded},
        "energy_evaluations": config.ladders
        * config.temperatures
        * round((options.equilibration + recorded) / timestep),
        "wall_seconds": round(time.monotonic() - started, 1),  # both of the last process of the run
        "cpu_seconds": round(time.process_time(), 1),
        "threads": torch.get_num_threads(),
        "version": __version__,
    }
    return write_reference(result, torsions, directory, facts)


def check_recorded(folder: Path, torsions: list[NamedTorsion]) -> None:
    """Raise unless the frames in a folder, if there are any, were recorded with these torsions.

    Raises:
        RunDirectoryError: if they hold others, as those of earlier versions do.
        FileFormatError: if a file is damaged.
    """
    first = min(folder.glob("*.safetensors"), default=None)
    if first is None:
        return
    frames, _ = read_tensors(first, KIND, VERSION)
    recorded, expected = frames["observables"][0, 0], torsion_values(frames["positions"][0, 0], torsions)
    if recorded.shape != expected.shape or (torch.cos(recorded - expected) < _SAME_ANGLE).any():
        raise RunDirectoryError(
            f"{folder} holds frames of other torsions than this version records: start a new run in another directory."
        )


def write_reference(
    result: TemperingResult, torsions: list[NamedTorsion], directory: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write the files of a reference; returns the content of reference.json."""
    temperatures = list(result.temperatures)
    phi = _phi(torsions)
    states = _states(result, torsions)
    columns = _energies_and_shares(result, phi, states)
    if len(columns) < 2:
        raise InsufficientDataError(
            f"Expected at least 2 frames of each replica; got {len(columns)}: simulate for longer."
        )
    value, error = result.estimate(_mean_of(columns), temperatures)
    half = len(columns) // 2
    first, second = (
        part.average(_mean_of(_energies_and_shares(part, phi, states)), temperatures).numpy()
        for part in (result.during(slice(half)), result.during(slice(half, None)))
    )
    low, high = POSITIVE_PHI
    names = [
        *(f"{low:g} < {torsions[k].name} < {high:g} rad" for k in phi),
        *(f"{torsions[k].name} {name}" for k, arcs in states.items() for name in arcs.names),
    ]
    populations = {}
    for column, name in enumerate(names, 1):
        share, spread = value[:, column], error[:, column]
        populations[name] = {
            "population": share.tolist(),
            "standard_error": spread.tolist(),
            "effective_samples": [p * (1 - p) / e**2 if e > 0 else None for p, e in zip(share, spread, strict=True)],
            "first_half": first[:, column].tolist(),
            "second_half": second[:, column].tolist(),
            "share_with_umbrella": columns[..., column].mean((0, 2)).tolist(),
        }
    found = {
        "temperatures_K": temperatures,
        "potential_energy_kJ_mol": {"mean": value[:, 0].tolist(), "standard_error": error[:, 0].tolist()},
        "populations": populations,
        "states_deg": {
            torsions[k].name: {
                name: [round(math.degrees(end), 1) for end in arcs.ends(state)] for state, name in enumerate(arcs.names)
            }
            for k, arcs in states.items()
        },
        "ladders": int((~result.lost).sum()),
        "lost_ladders": int(result.lost.sum()),
        "frames_per_temperature": int(columns[:, 0].shape[0] * columns.shape[2]),
        "swap_acceptance": list(result.acceptance),
        "round_trips": result.round_trips,
    }
    document = facts | found
    result.ensemble(temperatures[0]).save(directory, overwrite=True)
    arrays: dict[str, Any] = _torsion_arrays(result, torsions)
    with replacing(directory / TORSIONS) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    replace_file(directory / REFERENCE, json.dumps(document, indent=1) + "\n")
    return document


def _states(result: TemperingResult, torsions: list[NamedTorsion]) -> dict[int, TorsionStates]:
    """The states of each torsion about a rotatable bond but φ, from the frames of the lowest temperature."""
    weights = result.bias[:, 0].ravel() / thermal_energy(result.temperatures[0])
    weights = np.exp(weights - weights.max())
    return {
        k: torsion_states(torsion, result.observables[:, 0, :, k].ravel(), weights / weights.sum())
        for k, torsion in enumerate(torsions)
        if torsion.kind != "phi" and not torsion.in_ring
    }


def _energies_and_shares(result: TemperingResult, phi: list[int], states: dict[int, TorsionStates]) -> Tensor:
    """Potential energy, whether each φ is in the rare basin, and other torsions in their states: (n, T, L, …)."""
    low, high = POSITIVE_PHI
    angles = torch.from_numpy(result.observables)[..., phi]
    found = [torch.from_numpy(result.energies)[..., None], (angles > low) & (angles < high)]
    for k, arcs in states.items():
        labels = torch.from_numpy(arcs.labels(result.observables[..., k]))
        found.append(torch.nn.functional.one_hot(labels, len(arcs.names)))
    return torch.cat([part.double() for part in found], -1)


def _phi(torsions: list[NamedTorsion]) -> list[int]:
    return [k for k, torsion in enumerate(torsions) if torsion.kind == "phi"]


def _mean_of(columns: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda weights: torch.einsum("ntl,ntlk->k", weights, columns)


def _torsion_arrays(result: TemperingResult, torsions: list[NamedTorsion]) -> dict[str, NDArray[Any]]:
    """Histograms at the lowest temperature with errors, from all temperatures, and some of its own frames."""
    coldest = result.temperatures[0]
    angles = torch.from_numpy(result.observables)
    bins = (((angles + torch.pi) * (_BINS / (2 * torch.pi))).long() % _BINS).flatten(0, 2)
    place = {torsion.name: k for k, torsion in enumerate(torsions)}
    pairs = [(k, place[f"psi {torsions[k].place}"]) for k in _phi(torsions) if f"psi {torsions[k].place}" in place]
    cells = [bins[:, k] for k in range(len(torsions))], [bins[:, a] * _BINS + bins[:, b] for a, b in pairs]

    def histograms(weights: Tensor) -> Tensor:
        w = weights.flatten()
        counts = [torch.bincount(c, w, _BINS ** (1 + plane)) for plane in (0, 1) for c in cells[plane]]
        return torch.cat([*counts, w.new_zeros(0)])

    values, errors = result.estimate(histograms, coldest)
    lines = len(torsions) * _BINS
    ladders = angles.shape[2]
    stride = max(1, -(-len(angles) * ladders * (2 * len(torsions) + 4) // _TORSION_BYTES))
    kept = result.bias[::stride, 0].ravel()
    return {
        "names": np.array([torsion.name for torsion in torsions]),
        "atoms": np.array([torsion.atoms for torsion in torsions]),
        "temperature_K": np.array(coldest),
        "histogram": values[:lines].reshape(-1, _BINS).astype("f4"),
        "histogram_error": errors[:lines].reshape(-1, _BINS).astype("f4"),
        "pairs": np.array(pairs).reshape(-1, 2),
        "histogram_2d": values[lines:].reshape(-1, _BINS, _BINS).astype("f4"),
        "histogram_2d_error": errors[lines:].reshape(-1, _BINS, _BINS).astype("f4"),
        "torsions_rad": angles[::stride, 0].flatten(0, 1).half().numpy(),
        "weights": np.exp((kept - kept.max()) / thermal_energy(coldest)).astype("f4"),
    }
