"""What is left of a training that is killed, or whose disk is full."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import boltzflow as bf
from boltzflow.errors import StorageError
from boltzflow.storage import replace_file
from tests.training.killed import make


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("kind", ["eager", "compiled"])
def test_twenty_kills_at_random_times_cost_nothing_but_time(tmp_path: Path, kind: str, devices: int) -> None:
    """After each SIGKILL the last checkpoint loads, and the other process ends; in the end all is as without kills."""
    if devices > 1:
        pytest.importorskip("lightning_fabric")
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "tests.training.killed", str(tmp_path / "killed"), kind, str(devices)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["killed"] == 20
    assert found["steps"] == sorted(found["steps"])
    assert found["steps"][-1] > found["steps"][0]
    assert found["codes"] == [0] * 2 * devices
    assert found["same weights"]
    assert found["same records"]


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
    error = r"Cannot write .*file \(5,000 bytes\): .*; the existing file is kept"
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
    error = r"Cannot write .*last.safetensors .* bytes\): .*; the existing file is kept"
    with small_files(), pytest.raises(StorageError, match=error):
        bf.train(make(), directory=tmp_path, resume=True, **options)
    assert checkpoint.read_bytes() == before
    assert bf.train(make(), directory=tmp_path, resume=True, **options).last.step == 9
