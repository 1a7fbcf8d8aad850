"""What two processes run in the tests of training on several devices: ``several.py DIRECTORY TASK …``."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import boltzflow as bf
from boltzflow.core.objectives import Loss, forward_kl
from boltzflow.testing import randomize_parameters
from boltzflow.training import ConstrainedTransport, Method, ReverseKL
from boltzflow.training.distributed import MultiProcess, started
from tests.training.conftest import double_well

OPTIONS = {"batch_size": 64, "warmup": 2, "log_every": 2, "checkpoint_every": 3, "compile": False, "progress": False}
LOG_WEIGHTS = 3.0 * torch.randn(100, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class FixedSamples(Method):
    """Maximum likelihood on the same samples in each step, of which each process takes its part."""

    def temperature(self, model, info) -> float:
        return model.temperature

    def loss(self, model, info, memory) -> Loss:
        x = torch.randn(OPTIONS["batch_size"], 2, generator=torch.Generator().manual_seed(5))
        rank, size = started()
        return forward_kl(model.flow, x.chunk(size)[rank])

    def evaluations(self, steps, batch_size) -> int:
        return 0


@dataclass(frozen=True)
class Struck(ConstrainedTransport):
    """Keeps a buffer; sends one process the signal of the environment variable STRIKE before the eighth step."""

    def loss(self, model, info, memory) -> Loss:
        if info.step == 7 and started()[0] == 1 and os.environ.get("STRIKE"):
            os.kill(os.getpid(), int(os.environ["STRIKE"]))
        return super().loss(model, info, memory)


@dataclass(frozen=True)
class PartlyBad(ReverseKL):
    """A loss that is not finite, but whose gradient is, in one process in the third step."""

    def loss(self, model, info, memory) -> Loss:
        loss = super().loss(model, info, memory)
        bad = info.step == 2 and started()[0] == 1
        return Loss(loss.value + float("inf"), loss.log_weights) if bad else loss


def gradient(devices: int) -> dict[str, torch.Tensor]:
    """Of the first step, not clipped."""
    model = double_well()
    randomize_parameters(model.flow, scale=0.1)
    bf.train(model, FixedSamples(), steps=1, devices=devices, max_gradient_norm=1e9, **OPTIONS)
    return {name: p.grad for name, p in model.flow.named_parameters() if p.grad is not None}


def trained(method: Method, directory: Path | None = None, resume: bool = False) -> dict[str, torch.Tensor]:
    """The weights after twelve steps of two processes, and the last record."""
    model = double_well()
    randomize_parameters(model.flow, scale=0.05, seed=started()[0])  # those of rank 0 are to count
    history = bf.train(model, method, steps=12, devices=2, directory=directory, resume=resume, ema=0.9, **OPTIONS)
    last = history.last
    record = torch.tensor([last.step, last.loss, last.ess, last.energy_evaluations, last.skipped_steps])
    return {**model.flow.state_dict(), "record": record.double()}


def run(task: str, directory: Path) -> dict[str, torch.Tensor]:
    struck = Struck(samples=100, every=4)
    if task == "gradient":
        return gradient(2)
    if task == "ess":
        group = MultiProcess(2, torch.device("cpu"))
        part = LOG_WEIGHTS.split([30, 70])[group.rank]
        nothing = torch.full((5,), -torch.inf)
        return {"ess": torch.tensor([group.ess(part), group.ess(nothing)], dtype=torch.float64)}
    if task == "bad":
        return trained(PartlyBad())
    if task == "uninterrupted":
        return trained(struck, directory / task)
    if task in ("interrupted", "killed"):
        os.environ["STRIKE"] = str(int(signal.SIGINT if task == "interrupted" else signal.SIGKILL))
        try:
            return trained(struck, directory / task)
        except KeyboardInterrupt:
            return {}
        finally:
            del os.environ["STRIKE"]
    return trained(struck, directory / task.removeprefix("resumed_"), resume=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        torch.save(run(name, folder), folder / f"{name}{started()[0]}.pt")
