"""Checkpoints from which a training can resume: one file, without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boltzflow.core import Flow
from boltzflow.errors import FileFormatError
from boltzflow.storage import reading
from boltzflow.tensorfile import read_tensors, write_tensors

KIND = "boltzflow checkpoint"
VERSION = 1


def save_checkpoint(
    path: Path,
    flow: Flow,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    average: Mapping[str, Tensor],
    own: Sequence[Mapping[str, Tensor]],
) -> None:
    """Write weights, optimiser, `progress` (JSON-serialisable), averaged weights and process states, atomically.

    `own` is the result of `own_state` of each process.
    """
    optimizer_state = optimizer.state_dict()
    tensors = {f"flow.{name}": tensor for name, tensor in flow.state_dict().items()}
    for index, state in optimizer_state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for rank, state in enumerate(own):
        tensors |= {_prefix(rank) + name: tensor for name, tensor in state.items()}
    write_tensors(path, tensors, KIND, VERSION, {"progress": progress, "groups": optimizer_state["param_groups"]})


def own_state(random: torch.Generator, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The random state of a process and the memory of its method."""
    return {"random": random.get_state(), **{f"memory.{name}": tensor for name, tensor in memory.items()}}


def load_checkpoint(
    path: Path,
    flow: Flow,
    optimizer: torch.optim.Optimizer,
    random: torch.Generator,
    settings: dict[str, Any],
    defaults: dict[str, Any],
    rank: int,
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Restore a checkpoint in place; returns `progress`, averaged weights and the method's memory.

    Random state and memory are those of the process `rank`. Settings that the checkpoint does not contain have their
    `defaults`.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: if it is damaged, or belongs to a flow of another shape or a training with other `settings`.
            Nothing is changed then.
    """
    tensors, header = read_tensors(path, KIND, VERSION)
    with reading(path, "{} is an incomplete checkpoint"):
        progress, groups, state_of_random = (
            dict(header["progress"]),
            header["groups"],
            tensors[_prefix(rank) + "random"],
        )
        stored = defaults | progress["settings"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
    if changed := sorted(k for k in settings | stored if stored.get(k) != settings.get(k)):
        raise FileFormatError(
            f"{path} belongs to a training with other settings ({', '.join(changed)}): "
            "resume with the settings of that run, or start a new run in another directory."
        )
    weights = _under("flow.", tensors)
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    try:
        flow.load_state_dict(weights)
        with reading(path, "{} is an incomplete checkpoint"):
            random.set_state(state_of_random)
            optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, FileFormatError) as error:
        flow.load_state_dict(before)
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"Expected a checkpoint of this run's architecture; {path} belongs to a flow of another architecture."
        ) from error
    device = flow.like.device
    memory = {name: tensor.to(device) for name, tensor in _under(f"{_prefix(rank)}memory.", tensors).items()}
    return progress, _under("average.", tensors), memory


def _prefix(rank: int) -> str:
    """The prefix of the names of a process's own tensors; empty for the first process."""
    return f"rank{rank}." if rank else ""


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
