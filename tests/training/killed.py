"""Kills a training at random times until the twentieth: ``killed.py FOLDER eager|compiled DEVICES``.

Prints the number of kills, the steps of the checkpoint after each, and whether all is then as in a training without.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import boltzflow as bf
from boltzflow.errors import ProcessError
from boltzflow.tensorfile import read_tensors
from boltzflow.training import ConstrainedTransport, Phases, ReverseKL
from boltzflow.training.checkpoint import KIND, VERSION
from boltzflow.training.distributed import STORE
from tests.analysis.exact import chain

KILLS = 20
LEFT_ALONE = 3
"""The exit code of a process whose other one was killed."""


def make() -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(16,), bins=4, start="plain")


def train(
    generator: bf.BoltzmannGenerator, folder: Path | None, resume: bool, compile: bool, devices: int, steps: int = 600
) -> None:
    method = Phases((ReverseKL(), ConstrainedTransport(samples=256, every=20)), (0.5, 0.5))
    options: dict[str, Any] = {"batch_size": 32, "log_every": 7, "checkpoint_every": 3, "progress": False}
    options |= {"optimizer": "adam", "precision": "float32", "patience": 0}
    bf.train(
        generator, method, directory=folder, resume=resume, compile=compile, devices=devices, steps=steps, **options
    )


def start(generator: bf.BoltzmannGenerator, folder: Path, compile: bool, devices: int) -> list[int]:
    """The processes of a training, which goes on where there is something to go on from."""
    resume = (folder / "checkpoints" / "last.safetensors").exists()
    meeting = Path(tempfile.mkdtemp(dir=folder.parent)) / "store"
    children = []
    for rank in range(devices):
        child = os.fork()
        if child:
            children.append(child)
            continue
        if devices > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": devices, "LOCAL_WORLD_SIZE": devices}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update({STORE: str(meeting), "TORCHELASTIC_RUN_ID": "killed", "GLOO_SOCKET_IFNAME": "lo"})
        try:
            train(generator, folder, resume, compile, devices)
            if rank == 0:
                torch.save(generator.flow.state_dict(), folder / "weights.pt")
            os._exit(0)
        except ProcessError:
            os._exit(LEFT_ALONE)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return children


def wait_for_news(path: Path, times: int) -> None:
    """Until a file has been replaced so often; not longer than a minute."""
    known, end = path.stat().st_ino if path.exists() else 0, time.monotonic() + 60.0
    while times and time.monotonic() < end:
        time.sleep(0.001)
        found = path.stat().st_ino if path.exists() else 0
        times, known = times - (found != known), found


def ends(children: list[int]) -> list[int]:
    """The exit codes of processes, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main(folder: Path, compile: bool, devices: int) -> dict[str, object]:
    torch.set_num_threads(1)
    chance, generator = random.Random(0), make()
    generator.sample(64)  # compiles the energies, once for all
    if devices > 1:
        import_module("lightning_fabric")  # so too what takes seconds to import
    if compile:  # so too the steps of both methods, and both directions
        weights = {name: tensor.clone() for name, tensor in generator.flow.state_dict().items()}
        train(generator, None, False, True, 1, steps=50)
        generator.flow.load_state_dict(weights)
    killed, steps = 0, []
    checkpoint = folder / "checkpoints" / "last.safetensors"
    while killed < KILLS:
        children = start(generator, folder, compile, devices)
        wait_for_news(checkpoint, chance.randrange(7))  # none: while it starts
        time.sleep(0.05 * chance.random())
        os.kill(chance.choice(children), signal.SIGKILL)
        time.sleep(0.2 * chance.random())
        for child in children:  # as the command that has started them does: one that waits for another would wait long
            os.kill(child, signal.SIGTERM)
        codes = ends(children)
        if -signal.SIGKILL not in codes:
            break
        if not set(codes) <= {-signal.SIGKILL, -signal.SIGTERM, LEFT_ALONE}:
            raise RuntimeError(f"Expected that one is killed and the others are ended or left alone; got {codes}.")
        killed += 1
        if checkpoint.exists():
            _, header = read_tensors(checkpoint, KIND, VERSION)
            steps.append(header["progress"]["step"])
    whole = folder.with_name("whole")
    codes = ends(start(generator, folder, compile, devices)) + ends(start(generator, whole, compile, devices))
    resumed, alone = (torch.load(place / "weights.pt") for place in (folder, whole))
    tables = ((place / "metrics.csv").read_text().splitlines() for place in (folder, whole))
    without_times = [[line.rsplit(",", 1)[0] for line in table] for table in tables]
    return {
        "killed": killed,
        "steps": steps,
        "codes": codes,
        "same weights": all(torch.equal(tensor, resumed[name]) for name, tensor in alone.items()),
        "same records": without_times[0] == without_times[1],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2] == "compiled", int(sys.argv[3]))))
