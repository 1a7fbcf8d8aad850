"""All that a run of parallel tempering is at one moment, and its checkpoint."""

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
class Moment:
    """A run after a number of rounds; replaced as a whole, so that Ctrl-C never finds half of one.

    Attributes:
        rounds: of swaps, equilibration included.
        state: of all replicas.
        heading: (T, L), see `turned`.
        round_trips: (L,).
        accepted: swaps, (T − 1,).
        attempted: swaps, (T − 1,).
        random: state of the generator of random numbers.
        frames: recorded so far.
    """

    rounds: int
    state: State
    heading: Tensor
    round_trips: Tensor
    accepted: Tensor
    attempted: Tensor
    random: Tensor
    frames: Frames = field(repr=False)


def save_moment(path: Path, moment: Moment, settings: dict[str, Any]) -> None:
    """Write a moment that has no pending frames, atomically. Settings are JSON-able."""
    tensors = {name: value for name, value in vars(moment).items() if isinstance(value, Tensor)}
    tensors |= {f"state.{name}": value for name, value in vars(moment.state).items()}
    header = {"settings": settings, "rounds": moment.rounds, "chunks": list(moment.frames.chunks)}
    write_tensors(path, tensors, KIND, VERSION, header)


def load_moment(path: Path, frames: Path, settings: dict[str, Any], device: torch.device) -> Moment:
    """Read what `save_moment` wrote; `frames` is the folder of the chunks.

    Raises:
        FileFormatError: if the file is damaged, or of a run with other settings.
    """
    tensors, header = read_tensors(path, KIND, VERSION)
    with reading(path, "{} is an incomplete checkpoint"):
        stored = dict(header["settings"])
    if changed := sorted(name for name in settings | stored if settings.get(name) != stored.get(name)):
        raise FileFormatError(
            f"{path} belongs to a run with other settings ({', '.join(changed)}): resume with those of the run, "
            "or start anew in another directory."
        )
    with reading(path, "{} is an incomplete checkpoint"):
        random = tensors.pop("random")  # lives on the CPU, whatever the device
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        counts = {name: tensors[name] for name in ("heading", "round_trips", "accepted", "attempted")}
        state = State(**{name: tensors[f"state.{name}"] for name in State.__dataclass_fields__})
        recorded = Frames(frames, tuple(header["chunks"]))
        return Moment(int(header["rounds"]), state, random=random, frames=recorded, **counts)
