"""The state of a parallel tempering run, and its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boltzflow.errors import FileFormatError
from boltzflow.simulation.frames import Frames
from boltzflow.simulation.langevin import State
from boltzflow.storage import reading
from boltzflow.tensorfile import read_tensors, write_tensors

KIND, VERSION = "boltzflow parallel tempering", 1


@dataclass(frozen=True)
class TemperingState:
    """The state of a run after a number of rounds. It is replaced as a whole, so Ctrl-C never leaves it incomplete.

    Attributes:
        rounds: rounds of swaps so far, equilibration included.
        state: of all replicas.
        heading: (T, L), see `turned`.
        round_trips: (L,).
        accepted: accepted swaps, (T − 1,).
        attempted: attempted swaps, (T − 1,).
        random: state of the random number generator.
        frames: the frames recorded so far.
    """

    rounds: int
    state: State
    heading: Tensor
    round_trips: Tensor
    accepted: Tensor
    attempted: Tensor
    random: Tensor
    frames: Frames = field(repr=False)


def save_tempering(path: Path, run: TemperingState, settings: dict[str, Any]) -> None:
    """Write a state without pending frames, atomically. Settings must be JSON-serialisable."""
    tensors = {name: value for name, value in vars(run).items() if isinstance(value, Tensor)}
    tensors |= {f"state.{name}": value for name, value in vars(run.state).items()}
    header = {"settings": settings, "rounds": run.rounds, "chunks": list(run.frames.chunks)}
    write_tensors(path, tensors, KIND, VERSION, header)


def load_tempering(path: Path, frames: Path, settings: dict[str, Any], device: torch.device) -> TemperingState:
    """Read a checkpoint of `save_tempering`; `frames` is the folder of the chunks.

    Raises:
        FileFormatError: if the file is damaged, or from a run with other settings.
    """
    tensors, header = read_tensors(path, KIND, VERSION)
    with reading(path, "{} is an incomplete checkpoint"):
        stored = dict(header["settings"])
    if changed := sorted(name for name in settings | stored if settings.get(name) != stored.get(name)):
        raise FileFormatError(
            f"{path} belongs to a run with other settings ({', '.join(changed)}): resume with the settings of that "
            "run, or start a new run in another directory."
        )
    with reading(path, "{} is an incomplete checkpoint"):
        random = tensors.pop("random")  # always on the CPU
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        counts = {name: tensors[name] for name in ("heading", "round_trips", "accepted", "attempted")}
        state = State(**{name: tensors[f"state.{name}"] for name in State.__dataclass_fields__})
        recorded = Frames(frames, tuple(header["chunks"]))
        return TemperingState(int(header["rounds"]), state, random=random, frames=recorded, **counts)
