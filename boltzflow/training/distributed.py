"""The processes of a multi-device training, and their communication."""

from __future__ import annotations

import atexit
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from safetensors.torch import load, save
from torch import Tensor, distributed

from boltzflow.core.importance import effective_sample_size
from boltzflow.errors import MissingDependencyError, OptionError, ProcessError
from boltzflow.training.trainable import Trainable

STORE = "BOLTZFLOW_STORE"
"""The environment variable with the file through which processes of one command connect."""


class DistributedGroup(ABC):
    """Processes that train one flow together, each on a part of the samples.

    All processes call the same methods in the same order. Results of communication are identical in all processes, bit
    for bit, so that they take the same decisions and their weights stay equal.

    Attributes:
        rank: of this process, from 0; process 0 writes files and shows progress.
        size: number of processes.
    """

    rank: int
    size: int

    def seed(self, seed: int) -> int:
        """The random seed of this process; rank 0 uses the training's own."""
        if self.rank == 0:
            return seed
        # Not by addition: a CPU generator uses 32 bits only, and the next seed may belong to another training.
        return int.from_bytes(hashlib.sha256(f"{seed}, {self.rank}".encode()).digest()[:4], "big")

    @abstractmethod
    def place(self, model: Trainable) -> None:
        """Move a model to this process's device, and copy the weights of rank 0 to its flow."""

    @abstractmethod
    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""

    @abstractmethod
    def add(self, *numbers: float) -> tuple[float, ...]:
        """The sum of each number over all processes."""

    @abstractmethod
    def ess(self, log_weights: Tensor) -> float:
        """The effective sample size of all samples together, as a fraction."""

    @abstractmethod
    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The tensors of each process on rank 0; an empty list elsewhere."""


class SingleProcess(DistributedGroup):
    """A single process."""

    rank, size = 0, 1

    def place(self, model: Trainable) -> None:
        pass

    def average(self, tensors: list[Tensor]) -> None:
        pass

    def add(self, *numbers: float) -> tuple[float, ...]:
        return numbers

    def ess(self, log_weights: Tensor) -> float:
        return effective_sample_size(log_weights)

    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        return [dict(tensors)]


class MultiProcess(DistributedGroup):
    """Processes that were started together on one or several machines; Lightning Fabric connects them.

    Args:
        size: expected number of processes.
        device: the type of device for each process.

    Raises:
        OptionError: if a different number of processes was started.
        MissingDependencyError: if lightning-fabric is not installed.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        check_started(size)
        self.rank, self.size = started()
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise MissingDependencyError(
                "Training on several devices needs the package lightning-fabric: pip install 'boltzflow[fabric]'."
            ) from error
        if STORE in os.environ:
            _meet(size, self.rank, device)
        nodes = _nodes(size)
        fabric = Fabric(accelerator=device.type, devices=size // nodes, num_nodes=nodes, strategy="ddp")
        fabric.launch()
        self.device: torch.device = fabric.device

    def place(self, model: Trainable) -> None:
        if self.device != model.flow.like.device:
            model.to(self.device)
        state = model.flow.state_dict()
        with _others_alive(), torch.no_grad():
            for name, tensor in state.items():
                # A tensor of a state dict may be a view, which cannot receive data, or on another device.
                state[name] = tensor.to(self.device, copy=True, memory_format=torch.contiguous_format)
                distributed.broadcast(state[name], src=0)
        model.flow.load_state_dict(state)  # not all entries are writable tensors

    def average(self, tensors: list[Tensor]) -> None:
        # One message instead of one per tensor.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _others_alive():
            distributed.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])  # type: ignore[no-untyped-call]
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def add(self, *numbers: float) -> tuple[float, ...]:
        together = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with _others_alive():
            distributed.all_reduce(together)
        return tuple(together.tolist())

    def ess(self, log_weights: Tensor) -> float:
        log_weights = log_weights.double()
        n = log_weights.new_tensor(len(log_weights))
        sums = torch.stack([log_weights.logsumexp(0), (2 * log_weights).logsumexp(0), n.log()]).to(self.device)
        everyones = [torch.empty_like(sums) for _ in range(self.size)]
        with _others_alive():
            distributed.all_gather(everyones, sums)
        first, second, samples = torch.stack(everyones).logsumexp(0)
        return min(1.0, (2 * first - second - samples).exp().item()) if first.isfinite() else 0.0

    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        # As safetensors: torch unpickles gathered objects, so the sender could run code.
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        message = torch.frombuffer(bytearray(save(own)), dtype=torch.uint8).to(self.device)
        with _others_alive():
            lengths = [torch.empty(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
            distributed.all_gather(lengths, torch.tensor([len(message)], device=self.device))
            longest = max(int(length) for length in lengths)
            padded = torch.cat([message, message.new_zeros(longest - len(message))])
            found = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
            distributed.gather(padded, found, dst=0)
        return [load(part[:length].cpu().numpy().tobytes()) for part, length in zip(found or [], lengths, strict=False)]


def assemble(devices: int, device: torch.device) -> DistributedGroup:
    """The processes of a training on `devices` devices of the type of `device`.

    Raises:
        OptionError: if the number is not positive, or the program was started as a different number of processes.
        MissingDependencyError: if `devices` exceeds 1 and lightning-fabric is not installed.
    """
    if devices < 1:
        raise OptionError(f"Expected a positive number of devices; got {devices}.")
    return SingleProcess() if devices == 1 else MultiProcess(devices, device)


def started() -> tuple[int, int]:
    """Rank of this process, and the number of processes that torchrun or srun started."""
    for rank, size, needed in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID")):
        if {rank, size, needed} <= os.environ.keys():
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def _meet(size: int, rank: int, device: torch.device) -> None:
    """Connect the processes that `boltzflow train --devices` started, through their file."""
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    store = distributed.FileStore(  # type: ignore[attr-defined]
        os.environ[STORE], size
    )
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    atexit.register(distributed.destroy_process_group)


def check_shares(batch_size: int, devices: int) -> None:
    """Raise unless the batch can be divided evenly among the devices.

    Raises:
        OptionError: if it cannot.
    """
    if batch_size % devices:
        raise OptionError(f"Expected a batch_size that is a multiple of the {devices} devices; got {batch_size}.")


def check_started(devices: int) -> None:
    """Raise unless the program was started as one process for each device.

    A process started by srun may train alone; one started by torchrun may not.

    Raises:
        OptionError: states how to start the program.
    """
    _, found = started()
    if found != devices and (devices > 1 or "LOCAL_WORLD_SIZE" in os.environ):
        raise OptionError(
            f"Expected one process for each of {devices} devices, started with 'torchrun --nproc-per-node {devices} "
            f"…', srun, or 'boltzflow train --devices {devices}'; got {found} processes."
        )


def _nodes(size: int) -> int:
    """The number of machines, with equal numbers of processes."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return size // int(os.environ["LOCAL_WORLD_SIZE"])
    return int(os.environ.get("SLURM_NNODES", 1))


@contextmanager
def _others_alive() -> Iterator[None]:
    """Convert a failed communication to a ProcessError."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            "Another process of this training has stopped, so training cannot continue. The last checkpoint is kept; "
            "resume from it."
        ) from error
