"""Estimates the cost of a training from a few of its steps."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from typing import NamedTuple

import torch

from boltzflow.core.precision import nets_in
from boltzflow.training.methods import Memory, Method, StepInfo
from boltzflow.training.optimizers import make_optimizer
from boltzflow.training.options import TrainingOptions
from boltzflow.training.trainable import Trainable

_TIMED = 3


class Cost(NamedTuple):
    """A cost estimate: number of energy evaluations, wall time in s, and peak memory of the process in GiB.

    The number of evaluations is exact for a training that takes all of its steps. It does not include those of the
    estimate itself, which takes a few steps.
    """

    evaluations: int
    seconds: float
    memory_gib: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        time_text = f"{minutes / 60:.1f} hours" if minutes > 120 else f"{minutes:.1f} minutes"
        return f"about {self.evaluations:.2g} energy evaluations, {time_text} and {self.memory_gib:.1f} GiB"


def estimate_cost(model: Trainable, method: Method, options: TrainingOptions) -> Cost:
    """Estimate the cost from a few timed steps, which do not change the model but compile its code.

    A step that draws new samples takes longer than one that does not. The first step and later ones give both times,
    and the method returns the total number of samples.
    """
    random = torch.Generator(model.flow.like.device).manual_seed(0)
    optimizer = make_optimizer(options.optimizer, model.flow.parameters(), learning_rate=0.0)
    infos = [StepInfo(step, options.steps, options.batch_size, random) for step in range(_TIMED)]
    memory: Memory = {}
    of_a_frame = _seconds_of_a_frame(model, method, memory, infos[0])
    with nets_in(model.flow, options.net_dtype):
        _timed(model, method, infos[0], optimizer, options, dict(memory))  # compiles
        first, *later = [_timed(model, method, info, optimizer, options, memory) for info in infos]
    (seconds_first, drawn_first), (seconds_later, drawn) = first, min(later)
    seconds = seconds_later * options.steps
    evaluations = method.evaluations(options.steps, options.batch_size)
    if model.flow.transform.stochastic_layers:  # these evaluate energies themselves, the same number in each step
        evaluations = drawn * options.steps
    if of_a_frame:
        seconds += (evaluations - drawn * options.steps) * of_a_frame
    elif drawn_first > drawn:
        of_a_sample = (seconds_first - seconds_later) / (drawn_first - drawn)
        seconds += max(0, evaluations - drawn * options.steps) * of_a_sample
    return Cost(evaluations, seconds, _peak_memory(model.flow.like.device) / 2**30)


def _seconds_of_a_frame(model: Trainable, method: Method, memory: Memory, info: StepInfo) -> float:
    """Seconds for an energy evaluation in the preparation of a method; 0 if there is none."""
    short = method.shortened()
    for _ in range(2):  # the first one compiles
        started, before = time.perf_counter(), model.evaluations
        with warnings.catch_warnings():  # so short a simulation has never mixed
            warnings.simplefilter("ignore", UserWarning)
            short.prepare(model, info, memory)
        seconds, evaluated = time.perf_counter() - started, model.evaluations - before
    return seconds / evaluated if evaluated else 0.0


def _timed(
    model: Trainable,
    method: Method,
    info: StepInfo,
    optimizer: torch.optim.Optimizer,
    options: TrainingOptions,
    memory: Memory,
) -> tuple[float, int]:
    """Seconds and energy evaluations of one step at learning rate 0."""
    started, before = time.perf_counter(), model.evaluations
    optimizer.zero_grad(set_to_none=True)
    loss = method.loss(model, info, memory).value
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.flow.parameters(), options.max_gradient_norm)
    if bool(loss.isfinite() & norm.isfinite()):  # otherwise 0 times infinity would enter the weights
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - started, model.evaluations - before


def _peak_memory(device: torch.device) -> int:
    """The peak memory of this process, or of its GPU if it uses one, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
