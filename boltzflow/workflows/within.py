"""The number of steps that fit into the time at hand."""

from __future__ import annotations

import math
import time

import torch

from boltzflow.analysis.checks.collapse import simulated_frames
from boltzflow.errors import OptionError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.training import Method, TrainingOptions
from boltzflow.training.cost import estimate_cost
from boltzflow.workflows.config import RunConfig

_FEWEST = 200  # steps; fewer would only be warm-up
_REPORT, _COMPILING = 20.0, 30.0  # s, for analysis and pictures, and for compiling the check's simulation
_FORWARD = 1 / 3  # of a step, which also goes back
_BATCH = 192  # frames, whose energies are timed


def steps_within(minutes: float, began: float, config: RunConfig, generator: BoltzmannGenerator, method: Method) -> int:
    """The number of training steps that end in time for samples, the check for lost basins and the report.

    Args:
        minutes: for the whole run.
        began: when it began, by `time.monotonic()`; compiling and the timed steps count.
        config: its settings, with steps for the estimate.
        generator: compiled.
        method: of the training.

    Raises:
        OptionError: if the time is too short; says how long it should be.
    """
    options = config.part(TrainingOptions)
    of_step = estimate_cost(generator, method, options).seconds / options.steps
    after = config.samples / options.batch_size * _FORWARD * of_step + _REPORT
    if config.check_picoseconds:
        after += simulated_frames(config.check_picoseconds) * _seconds_of_a_frame(generator) + _COMPILING
    before = time.monotonic() - began
    steps = int((60 * minutes - before - after) / of_step)
    if steps < _FEWEST:
        least = (before + after + _FEWEST * of_step) / 60
        raise OptionError(
            f"Expected at least {math.ceil(least)} minutes for this molecule on this machine, {after:.0f} s of them "
            f"for samples and the check for lost basins; got {minutes:g}."
        )
    return steps


def _seconds_of_a_frame(generator: BoltzmannGenerator) -> float:
    """Of energy and forces, in a batch."""
    frames = torch.as_tensor(generator.system.positions).to(generator.like).expand(_BATCH, -1, -1)
    generator.potential.energy_and_forces(frames)  # compiles
    started = time.perf_counter()
    generator.potential.energy_and_forces(frames)
    return (time.perf_counter() - started) / _BATCH
