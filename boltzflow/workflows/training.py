"""A complete run: train, sample and analyze, with all results in one directory."""

from __future__ import annotations

import inspect
import platform
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mdtraj
import torch

from boltzflow.analysis import Summary, analyze, check_collapse, check_forward, compare, plots
from boltzflow.analysis.checks.references import FEWEST_BLOCKS, Reference, as_reference, check_same_molecule
from boltzflow.analysis.report.summary import GENERATOR, SUMMARY, as_document, plot_title
from boltzflow.architecture import Architecture
from boltzflow.capacity import check_disk, check_memory
from boltzflow.energies import TorchPotential
from boltzflow.energies.potential import energies_of_frames
from boltzflow.ensemble import TOPOLOGY, TRAJECTORY, WEIGHTS, Ensemble
from boltzflow.errors import (
    BoltzflowError,
    DataError,
    FileFormatError,
    InsufficientDataError,
    MissingFileError,
    OptionError,
    RunDirectoryError,
    SystemNotFoundError,
)
from boltzflow.generator import BoltzmannGenerator
from boltzflow.molecules import MolecularSystem, available_systems, load_system, read_molecule
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.settings import SEEDS
from boltzflow.storage import check_there, claimed, plain_path
from boltzflow.training import ForwardKL, Method, TrainingOptions, train
from boltzflow.training.cost import estimate_cost
from boltzflow.training.distributed import check_shares, check_started, started
from boltzflow.training.methods import FORWARD_KL, method_named
from boltzflow.workflows.config import RunConfig, SystemConfig
from boltzflow.workflows.needs import disk_of_samples, memory_of_samples, memory_of_training
from boltzflow.workflows.within import steps_within

CONFIG, CHECKPOINT = "config.yaml", Path("checkpoints") / "last.safetensors"

LIBRARY_REFERENCE = "reference"
"""The folder of a library system's reference."""

WORTH_COMPILING = 200_000
"""Number of samples above which compiling the code saves time."""

Progress = Callable[[int], None]


def build_system(config: SystemConfig) -> MolecularSystem:
    """The molecule of a run.

    Raises:
        BoltzflowError: any error of `read_molecule`.
    """
    settings = {name: getattr(config, name) for name in inspect.get_annotations(SystemConfig) if name != "heading"}
    return read_molecule(settings.pop("system"), **settings)


def check_unused(directory: Path) -> None:
    """Raise if a file in `directory` would be replaced.

    Raises:
        RunDirectoryError: if it already contains a run or samples.
    """
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"Expected a directory to write to; {directory} is a file.")
    for name in (CONFIG, GENERATOR, TRAJECTORY, TOPOLOGY, WEIGHTS, SUMMARY, CHECKPOINT):
        if (directory / name).exists():
            resume = ", or resume it with boltzflow train … --resume" if (directory / CONFIG).exists() else ""
            raise RunDirectoryError(f"{directory} already contains a run ({name}): choose another --out{resume}.")


def train_run(
    config: RunConfig,
    directory: Path,
    resume: bool,
    drawn: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Summary | None:
    """Train a generator, sample and analyze; all results are written to `directory`.

    On several devices this runs in one process for each. Only the first process writes files, samples and returns the
    summary. A run that fails before its first checkpoint leaves no files.

    Args:
        config: the settings.
        directory: a new directory, or with `resume` that of the run to continue.
        resume: continue from the last checkpoint, or from the beginning if there is none.
        drawn: called with the number of samples so far.
        tell: called with a cost estimate in one sentence before training starts; not for a resumed run or several
            devices.

    Raises:
        RunDirectoryError: if the directory already contains a run and `resume` is False, or another process writes to
            it.
        StorageError: if the directory is not writable, or is removed during the run.
        OptionError: if the accelerator is missing, the number of processes differs from that of devices, or memory or
            disk are too small for the training or its samples.
        BoltzflowError: any error from building the system, training and sampling.
    """
    check_started(config.devices)
    if config.minutes is not None and not resume and "steps" in config.given:
        raise OptionError(f"Expected --minutes or --steps; got {config.minutes:g} minutes and {config.steps} steps.")
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise OptionError("Expected a CUDA device for the accelerator cuda; torch found none.")
    if config.devices > 1 and started()[0] > 0:
        return _train(config, directory, resume, drawn, tell, is_first=False)
    with claimed(directory, lambda error: can_go_on(directory, error)):
        if not resume:
            check_unused(directory)
        return _train(config, directory, resume, drawn, tell, is_first=True)


def can_go_on(directory: Path, error: BaseException) -> bool:
    """Whether to keep a run that ended with an error: always after Ctrl-C, otherwise if there is a checkpoint."""
    return isinstance(error, KeyboardInterrupt) or (directory / CHECKPOINT).exists()


def _train(
    config: RunConfig,
    directory: Path,
    resume: bool,
    drawn: Progress | None,
    tell: Callable[[str], None] | None,
    is_first: bool,
) -> Summary | None:
    """One process of `train_run`."""
    began = time.monotonic()
    system = build_system(config)
    coordinates = system.coordinates()
    asked, config = config, config.completed(len(coordinates.domain))
    method = _method(config)
    # Impossible runs are rejected before any work, and before files are written.
    on_gpu = torch.cuda.mem_get_info()[1] if config.accelerator == "cuda" else None
    check_memory(memory_of_training(config, len(coordinates.domain)), "layers, hidden sizes and a batch", on_gpu)
    if config.data is not None and not resume:
        data = Ensemble.load(config.data).to_mdtraj()
        check_same_atoms(system.mdtraj_topology, data.topology, f"data in {config.data}", "the run")
    if is_first:
        check_room(config.samples, system.n_atoms, directory)
    options = config.part(TrainingOptions)
    check_shares(options.batch_size, config.devices)
    generator = BoltzmannGenerator.for_system(system, coordinates=coordinates, **dict(config.part(Architecture)))
    generator.to(config.accelerator)
    method.check(generator)
    if tell is not None and config.devices == 1 and not resume:
        tell("Compiling, and timing a few steps …")
        generator.compile()
    if config.minutes is not None and "steps" not in asked.given:
        steps = steps_within(config.minutes, began, config, generator, method)
        config = asked.of(**asked.given | {"preset": config.preset, "steps": steps}).completed(len(coordinates.domain))
        options = config.part(TrainingOptions)
    if is_first:
        config.write(directory / CONFIG)
    if tell is not None and config.devices == 1 and not resume:
        tell(_cost(generator, method, config, options))
    history = train(
        generator,
        method,
        directory=directory,
        resume=resume and (directory / CHECKPOINT).exists(),
        tensorboard=config.tensorboard,
        devices=config.devices,
        **dict(options),
    )
    if not is_first:
        return None
    check_there(directory)
    facts = {
        "method": config.method,
        "seed": config.seed,
        "steps": history.last.step,
        "stopped_early": history.stopped_early,
        "skipped_steps": history.last.skipped_steps,
        "training_energy_evaluations": history.last.energy_evaluations,
        "training_seconds": round(history.last.seconds, 1),
    }
    # `seed` itself was used by the training.
    seed = (config.seed + 1) % SEEDS
    return _sample(generator, config.samples, directory, seed, facts, drawn, config.check_picoseconds)


def _method(config: RunConfig) -> Method:
    """The requested method, with its data."""
    if (config.method == FORWARD_KL) != (config.data is not None):
        raise OptionError(
            f"Expected data (a directory of samples) with the method {FORWARD_KL} and with no other method; got "
            f"{config.method} with {config.data or 'no data'}."
        )
    return method_named(config.method) if config.data is None else ForwardKL(config.data)


def _cost(generator: BoltzmannGenerator, method: Method, config: RunConfig, options: TrainingOptions) -> str:
    """A cost estimate of the training in one sentence."""
    cost = estimate_cost(generator, method, options)
    fewer = "; less if the ESS stops rising earlier" if config.patience else ""
    return (
        f"Cost estimate for {config.method}, {config.steps:,} steps of {config.batch_size} samples with "
        f"{config.layers} couplings of {'·'.join(map(str, config.hidden))} ({config.precision} networks): "
        f"{cost}{fewer}."
    )


def sample_run(
    generator: BoltzmannGenerator,
    n: int,
    directory: Path,
    seed: int | None,
    drawn: Progress | None = None,
    temperature: float | None = None,
    reference: Reference | None = None,
    check_picoseconds: float = 0.0,
) -> Summary:
    """Write `n` samples and their analysis to a new directory, with a copy of the generator.

    The temperature is the generator's own, or another one in K that it covers. If a reference is given, the samples are
    compared with it. If a time is given, a simulation of this length searches for lost basins (`check_collapse`). A run
    that fails before all samples are written leaves no files.

    Raises:
        RunDirectoryError: if the directory already contains a run or samples, or another process writes to it.
        StorageError: if the directory is not writable, or is removed during the run.
        OptionError: if memory or disk are too small, or the generator does not cover the temperature.
    """
    with claimed(directory, lambda _: (directory / WEIGHTS).exists()):
        check_unused(directory)
        check_room(n, generator.system.n_atoms, directory)
        generator.checked_temperature(temperature)
        return _sample(generator, n, directory, seed, {}, drawn, check_picoseconds, temperature, reference)


def check_room(n: int, atoms: int, directory: Path) -> None:
    """Raise unless memory and the disk of `directory` are large enough for `n` samples.

    Raises:
        OptionError: states how much they need.
    """
    check_memory(memory_of_samples(n, atoms), f"{n:,} samples")
    check_disk(directory, disk_of_samples(n, atoms), f"{n:,} samples")


def _sample(
    generator: BoltzmannGenerator,
    n: int,
    directory: Path,
    seed: int | None,
    facts: dict[str, Any],
    drawn: Progress | None,
    check_picoseconds: float = 0.0,
    temperature: float | None = None,
    reference: Reference | None = None,
) -> Summary:
    """Sample and analyze; `facts` and the result of the check for lost basins go into the summary."""
    started, evaluations = time.monotonic(), generator.potential.evaluations
    seed = secrets.randbelow(2**31) if seed is None else seed  # recorded, so that the samples are reproducible
    generator.save(directory / GENERATOR)
    if n >= WORTH_COMPILING:
        generator.compile()
    ensemble = generator.sample(n, temperature=temperature, seed=seed, progress=drawn)
    check_there(directory)
    ensemble.save(directory, overwrite=True)
    run = {
        "system": generator.system.name,
        **facts,
        "sampling_energy_evaluations": generator.potential.evaluations - evaluations,
        "sampling_seconds": round(time.monotonic() - started, 1),
        "sampling_seed": seed,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if check_picoseconds:
        run["collapse_check"] = _collapse_check(generator, ensemble, check_picoseconds, seed)
    if reference is not None:
        run["evaluation"] = _evaluation(generator, ensemble, reference, directory)
    return analyze(ensemble, generator.system, directory, run=run)


def _evaluation(
    generator: BoltzmannGenerator, ensemble: Ensemble, reference: Reference, directory: Path
) -> dict[str, Any]:
    """Compare the samples with a reference, and write plots to the directory."""
    comparison = compare(ensemble, reference)
    forward = check_forward(generator, ensemble, reference)
    title = plot_title(generator.system, ensemble)
    if comparison.surfaces:
        surfaces = directory / "ramachandran_comparison.png"
        plots.ramachandran_comparison(comparison.surfaces, ensemble.temperature, title, surfaces)
    plots.marginals(comparison, title, directory / "marginals.png")
    plots.distances(comparison, title, directory / "distances.png")
    return {"comparison": comparison.document(), "forward": None if forward is None else forward.document()}


def find_reference(source: str | None, generator: BoltzmannGenerator) -> Reference:
    """The reference for a generator, from a directory, a trajectory file, or the library's reference of its system.

    Energies of a trajectory's frames are evaluated here.

    Raises:
        SystemNotFoundError: if there is no reference.
        FileFormatError: if the file is not a trajectory of the molecule.
        DataError: if the library's system of this name or the temperature differs.
        InsufficientDataError: if the reference has too few independent blocks.
        ShapeError: if the reference belongs to another molecule.
    """
    reference = as_reference(_source(source, generator), generator.temperature)
    check_same_molecule(generator.system.mdtraj_topology, reference)
    if reference.n_pieces < FEWEST_BLOCKS:  # checked before sampling
        raise InsufficientDataError(
            f"Expected a reference of at least {FEWEST_BLOCKS} independent blocks (ladders, or segments of a "
            f"trajectory); got {reference.n_pieces}."
        )
    return reference


def _source(source: str | None, generator: BoltzmannGenerator) -> Path | Ensemble:
    """The folder of a reference, or the frames of a trajectory with their energies."""
    system = generator.system
    if source is None:
        folder = available_systems().get(system.name, Path()) / LIBRARY_REFERENCE
        if system.name not in available_systems() or not folder.is_dir():
            raise SystemNotFoundError(
                f"The library has no reference for {system.name!r}: make one with 'boltzflow reference', and pass its "
                "directory with --reference."
            )
        if load_system(system.name).specification != system.specification:
            raise DataError(
                f"The generator's system {system.name!r} differs from the library's: pass a reference with --reference."
            )
        return folder
    path = Path(source)
    if not path.is_file():
        return path
    try:
        with plain_path(path) as name:
            trajectory = mdtraj.load(name, top=system.mdtraj_topology)
    except Exception as error:  # mdtraj raises many types of errors for invalid files
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise FileFormatError(f"Cannot read {path} as a trajectory of {system.n_atoms} atoms: {reason}.") from None
    energies = energies_of_frames(generator.potential, trajectory.xyz, like=generator.like)
    return Ensemble(trajectory.xyz, energies, generator.temperature, topology=trajectory.topology)


def _collapse_check(generator: BoltzmannGenerator, ensemble: Ensemble, picoseconds: float, seed: int) -> dict[str, Any]:
    """The result of `check_collapse`, or a verdict with the reason why it was not made."""
    if not isinstance(generator.potential, TorchPotential):
        return {
            "verdict": "Not checked: the force field has no native implementation, so a simulation would take too long."
        }
    try:
        found: dict[str, Any] = as_document(check_collapse(generator, ensemble, picoseconds=picoseconds, seed=seed))
        return found
    except BoltzflowError as error:  # a failed check must not discard the samples
        return {"verdict": f"Not checked: {error}"}


def find_generator(source: str) -> Path:
    """The file of a trained generator, from a file, a run directory, or a library system.

    Raises:
        SystemNotFoundError: if it is none of these; lists the systems.
        MissingFileError: if the library system has no trained generator.
    """
    path = Path(source)
    if path.is_file():
        return path
    if (path / GENERATOR).is_file():
        return path / GENERATOR
    systems = available_systems()
    if source not in systems:
        known = ", ".join(systems)
        raise SystemNotFoundError(
            f"Expected a generator's file, a directory with {GENERATOR}, or one of the systems {known}; got {source!r}."
        )
    if not (systems[source] / GENERATOR).is_file():
        raise MissingFileError(
            f"The system {source!r} has no trained generator yet: train one with 'boltzflow train {source}'."
        )
    return systems[source] / GENERATOR
