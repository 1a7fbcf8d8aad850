"""The training loop for all methods, with progress, checkpoints, and tolerance of bad steps."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from boltzflow.core.objectives import Loss
from boltzflow.core.precision import nets_in
from boltzflow.errors import NonFiniteError, OptionError, RunDirectoryError
from boltzflow.presets import PresetName
from boltzflow.simulation import Progress as Simulated
from boltzflow.storage import check_there, reading
from boltzflow.training.averaging import WeightAverage
from boltzflow.training.checkpoint import load_checkpoint, own_state, save_checkpoint
from boltzflow.training.distributed import DistributedGroup, assemble, check_shares
from boltzflow.training.history import History, Record
from boltzflow.training.interrupts import held, uninterrupted
from boltzflow.training.methods import Memory, Method, StepInfo, settings_of
from boltzflow.training.optimizers import make_optimizer
from boltzflow.training.options import TrainingOptions
from boltzflow.training.resolving import resolved
from boltzflow.training.schedules import WarmupCosine
from boltzflow.training.stopping import has_stopped_rising
from boltzflow.training.tensorboard_logger import TensorBoardLogger
from boltzflow.training.trainable import Trainable

SIMULATION = "simulation"
"""The folder of a method's simulation in the directory of a training."""


def train(
    model: Trainable,
    method: str | Method | None = None,
    *,
    preset: PresetName | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    compile: bool = True,
    progress: bool = True,
    tensorboard: bool = False,
    devices: int = 1,
    **options: Any,
) -> History:
    """Train a model in place.

    A generator is trained as by `boltzflow train`: unset options are filled from the preset. A `DensityModel` has no
    presets. It is trained with reverse KL and the defaults of `TrainingOptions`.

    Args:
        model: a `BoltzmannGenerator` or a `DensityModel`.
        method: the name of a method, or a `Method`. None takes "reverse_then_forward" for a generator, and "reverse_kl"
            for one with stochastic layers and for a `DensityModel`.
        preset: "quick", "standard" or "best": sets `steps`, `batch_size`, `optimizer`, `precision` and `patience` of a
            generator's training unless they are given, whatever the method; None is "standard".
        directory: where to write ``metrics.csv`` and ``checkpoints/``; None writes nothing.
        resume: continue from the directory's checkpoint; results equal those of an uninterrupted run.
        compile: whether to compile the flow (this takes about a minute; steps are then several times faster).
        progress: whether to show a progress bar.
        tensorboard: whether to also write the records to ``tensorboard`` in the directory (needs the extra
            "tensorboard").
        devices: number of processes that divide the samples of each step, each on a device of the flow's type (needs
            the extra "fabric"). The program must be started as this number of processes (see ``docs/clusters.md``).
        options: see `TrainingOptions`. They override the preset.

    Returns:
        The history, with a record every `log_every` steps.

    Raises:
        OptionError: if an option is invalid or unknown, or a preset is named for a `DensityModel`.
        UnsupportedCombinationError: if the method cannot train such a model.
        MissingDependencyError: if the package for `tensorboard` or `devices` is not installed.
        ProcessError: if another process of the training has stopped.
        RunDirectoryError: if the directory already contains a training and `resume` is False.
        NonFiniteError: after too many consecutive steps with a non-finite loss or gradient.

    >>> import boltzflow as bf
    >>> generator = bf.BoltzmannGenerator.for_system(bf.load_system("alanine_dipeptide"), layers=2, hidden=(16,))
    >>> history = bf.train(generator, steps=2, batch_size=16, log_every=1, compile=False, progress=False)
    >>> history.last.energy_evaluations
    32
    """
    TrainingOptions.of(**options)  # invalid options are refused before anything else
    group = assemble(devices, model.flow.like.device)
    chosen, checked = resolved(model, method, preset, devices, options)
    chosen.check(model)
    check_shares(checked.batch_size, devices)
    group.place(model)
    run = _Run(model, chosen, checked, None if directory is None else Path(directory), resume, tensorboard, group)
    if compile:
        model.compile()
    return run.go(progress)


class _Run:
    """The state of one training."""

    def __init__(
        self,
        model: Trainable,
        method: Method,
        options: TrainingOptions,
        directory: Path | None,
        resume: bool,
        tensorboard: bool,
        group: DistributedGroup,
    ) -> None:
        self.model, self.method, self.options, self.directory, self.group = model, method, options, directory, group
        flow = model.flow
        device = flow.like.device
        self.random = torch.Generator(device).manual_seed(group.seed(options.seed))
        self.optimizer = make_optimizer(options.optimizer, flow.parameters(), options.peak_learning_rate)
        self.schedule = WarmupCosine(options.peak_learning_rate, options.warmup)
        self.average = WeightAverage(flow, options.ema) if options.ema else None
        self.history = History(
            settings={
                "method": _settings(method),
                **options.model_dump(),
                "devices": group.size,
                "molecule": _fingerprint(model),
            }
        )
        self.end = options.steps
        self.step = self.skipped = self.skipped_in_a_row = self.failed = self.evaluations = 0
        self.memory: Memory = {}
        self.seconds_before = 0.0
        self.prepared: dict[str, Any] = {}
        self.random_after = self.random.get_state()
        if resume:
            self._restore()
        elif self.checkpoint is not None and self.checkpoint.exists():
            raise RunDirectoryError(f"{directory} already contains a training: resume it, or choose another directory.")
        # A single process can write a checkpoint at any time; several must be at the same step.
        self.agreed = group.size == 1
        self.caught: list[int] = []
        if self.directory is not None and group.rank == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.tensorboard: TensorBoardLogger | None = None
        if tensorboard:
            if self.directory is None:
                raise OptionError("Expected a directory for TensorBoard logs; got none.")
            if group.rank == 0:
                self.tensorboard = TensorBoardLogger(self.directory / "tensorboard", self.step)

    @property
    def checkpoint(self) -> Path | None:
        return None if self.directory is None else self.directory / "checkpoints" / "last.safetensors"

    def go(self, progress: bool) -> History:
        started = time.monotonic() - self.seconds_before
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            disable=not progress or self.group.rank > 0,
        )
        interrupts: AbstractContextManager[list[int]] = nullcontext([]) if self.group.size == 1 else held()
        with bar, nets_in(self.model.flow, self.options.net_dtype), interrupts as self.caught:
            if self.step == 0:
                self._prepare(bar)
            task = bar.add_task("training", total=self.end, completed=self.step, state="first steps …")
            last_step, last_time = self.step, time.monotonic()
            try:
                while self.step < self.end:
                    record = self._take_step(started)
                    bar.update(task, completed=self.step, total=self.end)
                    if record is not None:
                        now = time.monotonic()
                        rate = (self.step - last_step) / (now - last_time)
                        state = (
                            f"{rate:.1f} steps/s  T {record.temperature_K:.0f} K  "
                            f"loss {record.loss:.2f}  ESS {record.ess:.1%}"
                        )
                        last_step, last_time = self.step, now
                        bar.update(task, state=state)
                self.agreed = True
            finally:
                # Ctrl-C and errors leave a checkpoint too; an interrupted step will be repeated.
                self.random.set_state(self.random_after)
                if self.agreed:
                    self._save()
                if self.tensorboard is not None:
                    self.tensorboard.close()
        self.history.stopped_early = self.end < self.options.steps
        if self.average is not None:
            self.average.hand_over()
        self.model.provenance = {
            **self.history.settings,
            **({"simulation": self.prepared} if self.prepared else {}),
            "energy_evaluations": self.evaluations,
            "seconds": round(self.seconds_before, 1),
            "torch": torch.__version__,
        }
        return self.history

    def _prepare(self, bar: Progress) -> None:
        """The work of the method before the first step. What it has kept in the directory is not done again."""
        before = self.model.evaluations
        task: TaskID | None = None

        def tell(done: Simulated) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("simulating", total=round(done.total), state="")
            state = f"ps of {done.replicas} replicas  swaps {done.acceptance:.0%}"
            bar.update(task, completed=round(done.picoseconds), state=state)

        folder = None if self.directory is None else self.directory / SIMULATION
        if folder is not None and self.group.size > 1:
            folder = folder / str(self.group.rank)
        steps, share = self.options.steps, self.options.batch_size // self.group.size
        self.prepared = self.method.prepare(
            self.model, StepInfo(0, steps, share, self.random), self.memory, folder, tell
        )
        if task is not None:
            bar.remove_task(task)
        # What an interrupted process had evaluated is part of the method's own count.
        evaluated = max(self.model.evaluations - before, self.method.preparation(steps, share))
        self.evaluations += int(self.group.add(evaluated)[0])
        self.random_after = self.random.get_state()

    def _take_step(self, started: float) -> Record | None:
        options = self.options
        info = StepInfo(self.step, options.steps, options.batch_size // self.group.size, self.random)
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = self.model.evaluations
        memory = dict(self.memory)  # an interrupted step must not change it
        loss = self.method.loss(self.model, info, memory)
        self.optimizer.zero_grad(set_to_none=True)
        loss.value.backward()  # type: ignore[no-untyped-call]
        self.group.average([p.grad for p in self.model.flow.parameters() if p.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self.model.flow.parameters(), options.max_gradient_norm)
        with uninterrupted() if self.group.size == 1 else nullcontext():
            evaluations = self.model.evaluations - before
            return self._commit(info, loss, memory, norm, rate, evaluations, started)

    def _learning_rate(self) -> float:
        rate = self.schedule(self.step, self.options.steps)
        return rate if self.end == self.options.steps else rate * (self.end - self.step) / self.options.patience

    def _commit(
        self,
        info: StepInfo,
        loss: Loss,
        memory: Memory,
        norm: torch.Tensor,
        rate: float,
        evaluations: int,
        started: float,
    ) -> Record | None:
        """Apply all changes of a step, or none."""
        options = self.options
        # Samples that are not new were counted before.
        failed = int(torch.isinf(loss.log_weights).sum()) if loss.is_fresh else 0
        bad = not bool(loss.value.isfinite() & norm.isfinite())
        bad_ones, failed_ones, evaluated, interrupts = self.group.add(bad, failed, evaluations, len(self.caught))
        self._apply(loss, norm, bad_ones == 0)
        self.memory = memory
        self.step += 1
        self.evaluations += int(evaluated)
        self.failed += int(failed_ones)
        self.random_after = self.random.get_state()
        record = None
        if self.step % options.log_every == 0 or self.step == self.end:
            record = Record(
                step=self.step,
                temperature_K=self.method.temperature(self.model, info),
                loss=self.group.add(loss.value.item())[0] / self.group.size,
                ess=self.group.ess(loss.log_weights),
                gradient_norm=norm.item(),
                learning_rate=rate,
                skipped_steps=self.skipped,
                failed_frames=self.failed,
                energy_evaluations=self.evaluations,
                seconds=time.monotonic() - started,
            )
            self.history.records.append(record)
            if self.directory is not None and self.group.rank == 0:
                check_there(self.directory)
                self.history.write_csv(self.directory / "metrics.csv")
            if self.tensorboard is not None:
                self.tensorboard.write(record)
            if self._has_stopped_rising():
                self.end = min(self.step + options.patience, options.steps)
        self.seconds_before = time.monotonic() - started
        if self.step % options.checkpoint_every == 0:
            self._save()
        if interrupts:
            self.agreed = True
            raise KeyboardInterrupt
        return record

    def _has_stopped_rising(self) -> bool:
        options, records = self.options, self.history.records
        if not options.patience or self.end < options.steps:
            return False
        window = options.patience // options.log_every
        return has_stopped_rising(records, window, self.model.temperature, after=options.warmup)

    def _apply(self, loss: Loss, norm: torch.Tensor, finite: bool) -> None:
        if finite:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.step)
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= self.options.max_skipped:
            self.agreed = True
            raise NonFiniteError(
                f"Step {self.step}: loss or gradient was not finite in {self.skipped_in_a_row} consecutive steps "
                f"(loss {loss.value.item():g}, gradient norm {norm.item():g}). A smaller learning rate may help."
            )

    def _save(self) -> None:
        if self.directory is None or self.checkpoint is None or self.step == 0:
            return  # after a failed first step there is nothing to resume
        if self.group.rank == 0:
            check_there(self.directory)
        state = {
            "step": self.step,
            "end": self.end,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "failed": self.failed,
            "evaluations": self.evaluations,
            "seconds": self.seconds_before,
            "prepared": self.prepared,
            "settings": self.history.settings,
            "records": [asdict(record) for record in self.history.records],
        }
        average = {} if self.average is None else self.average.tensors
        own = self.group.gather(own_state(self.random, self.memory))
        if self.group.rank == 0:
            save_checkpoint(self.checkpoint, self.model.flow, self.optimizer, state, average, own)

    def _restore(self) -> None:
        if self.checkpoint is None:
            raise OptionError("Expected a directory to resume from; got none.")
        state, average, self.memory = load_checkpoint(
            self.checkpoint,
            self.model.flow,
            self.optimizer,
            self.random,
            self.history.settings,
            {**TrainingOptions().model_dump(), "devices": 1},
            self.group.rank,
        )
        with reading(self.checkpoint, "{} is an incomplete checkpoint"):
            if self.average is not None:
                self.average.load(average)
            self.history.records = [Record(**record) for record in state["records"]]
            if not all(isinstance(number, int | float) for record in state["records"] for number in record.values()):
                raise TypeError("records are numbers")
            self.step, self.failed = int(state["step"]), int(state["failed"])
            self.end = int(state.get("end", self.options.steps))  # absent in older checkpoints
            self.skipped, self.skipped_in_a_row = int(state["skipped"]), int(state["skipped_in_a_row"])
            self.prepared = dict(state.get("prepared", {}))  # absent in older checkpoints
            self.random_after = self.random.get_state()
            self.evaluations, self.seconds_before = int(state["evaluations"]), float(state["seconds"])


def _settings(method: Method) -> dict[str, Any]:
    try:
        # As read back from a checkpoint: JSON has no tuples.
        return dict(json.loads(json.dumps(settings_of(method))))
    except TypeError as error:
        raise OptionError(
            f"Expected a method whose settings are numbers, strings and lists; got another type ({error})."
        ) from None


def _fingerprint(model: Trainable) -> str:
    """A short fingerprint of a density."""
    return hashlib.sha256(json.dumps(model.identity).encode()).hexdigest()
