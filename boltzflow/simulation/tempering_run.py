"""Runs parallel tempering: dynamics, swaps, records, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boltzflow.errors import RunDirectoryError, ShapeError
from boltzflow.simulation.exchange import turned
from boltzflow.simulation.frames import Frames
from boltzflow.simulation.ladders import Ladders
from boltzflow.simulation.langevin import State
from boltzflow.simulation.tempering_options import Progress, TemperingOptions
from boltzflow.simulation.tempering_result import TemperingResult
from boltzflow.simulation.tempering_state import TemperingState, load_tempering, save_tempering
from boltzflow.storage import check_there

CHECKPOINT, FRAMES = Path("checkpoints") / "last.safetensors", "frames"

_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class TemperingRun:
    """One run of a `ParallelTempering`: starts or resumes, runs, and saves."""

    now: TemperingState

    def __init__(self, sampler: Ladders, options: TemperingOptions, directory: Path | None) -> None:
        self.sampler, self.options, self.directory = sampler, options, directory
        self.steps = max(1, round(options.swap_every / sampler.dynamics.timestep))
        self.hot = options.rounds(options.equilibration / 2)
        self.skipped = options.rounds(options.equilibration)
        self.end = self.skipped + options.rounds(options.picoseconds)

    def begin(self, positions: Tensor, resume: bool) -> None:
        """Set the initial state, or that of the checkpoint."""
        n, replicas = self.sampler.dynamics.potential.n_atoms, self.sampler.shape[0] * self.sampler.shape[1]
        if positions.shape not in ((n, 3), (replicas, n, 3)):
            raise ShapeError(
                f"Expected positions ({n}, 3) or ({replicas}, {n}, 3) in nm; got {tuple(positions.shape)}."
            )
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        device = positions.device
        self.random = torch.Generator(device).manual_seed(self.options.seed)
        frames = None if self.directory is None else self.directory / FRAMES
        if self.directory is not None and frames is not None and (self.directory / CHECKPOINT).exists():
            if not resume:
                raise RunDirectoryError(
                    f"{self.directory} already contains a run: resume it, or choose another directory."
                )
            self.now = load_tempering(self.directory / CHECKPOINT, frames, self._settings, device)
            self.random.set_state(self.now.random)
            return
        temperatures, ladders = self.sampler.shape

        def none(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.long, device=device)

        self.now = TemperingState(
            rounds=0,
            state=self.sampler.dynamics.start(positions.expand(replicas, n, 3), self.random),
            heading=none(temperatures, ladders),
            round_trips=none(ladders),
            accepted=none(temperatures - 1),
            attempted=none(temperatures - 1),
            random=self.random.get_state(),
            frames=Frames(frames),
        )

    def go(self, progress: Callable[[Progress], None] | None) -> None:
        """Run all remaining rounds; frames and checkpoint are saved at the end, also after Ctrl-C."""
        saved = time.monotonic()
        try:
            while self.now.rounds < self.end:
                self.now = self._round(self.now)
                if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
                    saved = time.monotonic()
                if progress is not None:
                    progress(self._progress)
        finally:
            self._save()

    def result(self) -> TemperingResult:
        """The result so far."""
        now, sampler = self.now, self.sampler
        return TemperingResult(
            temperatures=sampler.temperatures,
            frames=now.frames,
            lost=now.state.lost.view(sampler.shape).any(0).cpu(),
            kept=sampler.kept,
            acceptance=tuple((now.accepted / now.attempted.clamp_min(1)).tolist()),
            round_trips=int(now.round_trips.sum()),
            topology=sampler.topology,
        )

    @torch.no_grad()
    def _round(self, now: TemperingState) -> TemperingState:
        """One round: dynamics, swaps, and a record if it is due."""
        rounds, options = now.rounds + 1, self.options
        if rounds <= self.hot:
            state = self.sampler.hot.run(now.state, self.steps, self.random)
            return replace(now, rounds=rounds, state=state, random=self.random.get_state())
        state, source, swapped = self.sampler.advance(now.state, self.steps, rounds % 2, self.random)
        heading, ended = turned(now.heading.gather(0, source))
        then = replace(now, rounds=rounds, state=state, heading=heading, random=self.random.get_state())
        if rounds <= self.skipped:
            return then
        accepted, attempted, pairs = now.accepted.clone(), now.attempted.clone(), slice(rounds % 2, None, 2)
        accepted[pairs] += swapped.sum(1)
        attempted[pairs] += swapped.shape[1]
        frames = now.frames
        if (rounds - self.skipped) % options.rounds(options.record_every) == 0:
            frames = frames.and_(self._record(state))
            frames = frames.packed() if frames.is_chunk else frames
        trips = now.round_trips + ended
        return replace(then, round_trips=trips, accepted=accepted, attempted=attempted, frames=frames)

    def _record(self, state: State) -> dict[str, Tensor]:
        sampler = self.sampler
        bias = sampler.bias_of(state.positions)
        record = {"energies": (state.energies - bias).view(sampler.shape), "bias": bias.view(sampler.shape)}
        if sampler.observables is not None:
            record["observables"] = sampler.observables(state.positions).float().reshape(*sampler.shape, -1)
        if sampler.kept:
            whole = state.positions.reshape(*sampler.shape, *state.positions.shape[1:])
            record["positions"] = whole[list(sampler.kept)].float()
        return {name: tensor.cpu() for name, tensor in record.items()}

    @property
    def _progress(self) -> Progress:
        now, unit = self.now, self.options.swap_every
        acceptance = float(now.accepted.sum() / now.attempted.sum().clamp_min(1))
        evaluations = self.sampler.dynamics.potential.evaluations
        return Progress(now.rounds * unit, self.end * unit, len(now.state), evaluations, acceptance)

    @property
    def _settings(self) -> dict[str, Any]:
        """The settings that must not change when a run is resumed; its length may change."""
        sampler, dynamics = self.sampler, self.sampler.dynamics
        settings = {
            "temperatures": sampler.temperatures,
            "ladders": sampler.ladders,
            "keep": sampler.kept,
            "atoms": dynamics.potential.n_atoms,
            "friction": dynamics.friction,
            "timestep": dynamics.timestep,
            **{name: value for name, value in vars(self.options).items() if name != "picoseconds"},
        }
        return dict(json.loads(json.dumps(settings)))  # as they are read back: JSON has no tuples

    def _save(self) -> None:
        if self.directory is not None:
            check_there(self.directory)
            self.now = replace(self.now, frames=self.now.frames.packed())
            save_tempering(self.directory / CHECKPOINT, self.now, self._settings)
