"""What is left of a training that is killed, or whose disk is full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import boltzflow as bf
from boltzflow.errors import StorageError
from boltzflow.storage import replace_file
from boltzflow.training import ConstrainedTransport, Phases, ReverseKL
from tests.analysis.exact import chain

KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path

    import torch

    import boltzflow as bf
    from tests.training.test_crashes import make, train

    torch.set_num_threads(1)
    folder, random = Path(sys.argv[1]), random.Random(0)
    checkpoint = folder / "checkpoints" / "last.safetensors"
    steps, killed, generator = [], 0, make()
    generator.sample(64)  # compiles the energies, once for all
    while killed < 20:
        child = os.fork()
        if child == 0:
            train(generator, folder, resume=checkpoint.exists())
            os._exit(0)
        time.sleep(0.05 + 0.3 * random.random())
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            break
        if checkpoint.exists():
            from boltzflow.training.checkpoint import KIND, VERSION
            from boltzflow.tensorfile import read_tensors
            steps.append(read_tensors(checkpoint, KIND, VERSION)[1]["progress"]["step"])
    print(killed, *steps)
"""


def make() -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(16,), bins=4, start="plain")


def train(generator: bf.BoltzmannGenerator, folder: Path, resume: bool) -> None:
    method = Phases((ReverseKL(), ConstrainedTransport(samples=256, every=20)), (0.5, 0.5))
    options = {"batch_size": 32, "log_every": 7, "checkpoint_every": 3, "compile": False, "progress": False}
    bf.train(generator, method, directory=folder, resume=resume, steps=1500, **options)


@pytest.mark.slow
def test_twenty_kills_at_random_times_cost_nothing_but_time(tmp_path: Path) -> None:
    """After each SIGKILL the last checkpoint loads; in the end everything is as in a training without."""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    killed, *steps = map(int, run.stdout.split())
    assert killed == 20
    assert len(steps) >= 15
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]

    whole, resumed = make(), make()
    train(whole, tmp_path / "whole", resume=False)
    train(resumed, tmp_path / "killed", resume=True)
    for name, tensor in whole.flow.state_dict().items():
        assert torch.equal(tensor, resumed.flow.state_dict()[name]), name
    records = [(tmp_path / f / "metrics.csv").read_text().splitlines() for f in ("whole", "killed")]
    without_times = [[line.rsplit(",", 1)[0] for line in lines] for lines in records]
    assert without_times[0] == without_times[1]


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 4 KiB: what a full disk does, without one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "old")
    error = r"Cannot write .*file \(5,000 bytes\): .*; what was there before is kept"
    with small_files(), pytest.raises(StorageError, match=error):
        replace_file(path, b"x" * 5000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_training_on_a_full_disk_ends_with_a_sentence_and_keeps_its_checkpoint(tmp_path, monkeypatch) -> None:
    options = {"steps": 9, "batch_size": 16, "compile": False, "progress": False, "checkpoint_every": 2}
    with monkeypatch.context() as patch:
        calls = []

        def interrupted(self, *arguments, **keywords):
            calls.append(1)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return backward(self, *arguments, **keywords)

        backward = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bf.train(make(), directory=tmp_path, **options)
    checkpoint = tmp_path / "checkpoints" / "last.safetensors"
    before = checkpoint.read_bytes()
    error = r"Cannot write .*last.safetensors .* bytes\): .*; what was there before is kept"
    with small_files(), pytest.raises(StorageError, match=error):
        bf.train(make(), directory=tmp_path, resume=True, **options)
    assert checkpoint.read_bytes() == before
    assert bf.train(make(), directory=tmp_path, resume=True, **options).last.step == 9
