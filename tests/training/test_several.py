"""Training by two processes on a CPU (gloo)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import boltzflow as bf
from boltzflow.core.importance import effective_sample_size
from boltzflow.errors import MissingDependencyError, OptionError
from boltzflow.tensorfile import read_tensors
from boltzflow.training.checkpoint import KIND, VERSION
from boltzflow.training.distributed import MultiProcess, SingleProcess

from .conftest import double_well
from .several import LOG_WEIGHTS, OPTIONS, gradient

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BOLTZFLOW_COMPILE": "0"}

pytest.importorskip("lightning_fabric")


def together(folder: Path, *tasks: str) -> subprocess.CompletedProcess[str]:
    """Two processes that torchrun starts."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = str(ROOT / "tests" / "training" / "several.py")
    return subprocess.run(
        [*launcher, script, str(folder), *tasks], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With the results of each task on each rank."""
    folder = tmp_path_factory.mktemp("several")
    began = time.monotonic()
    killed = together(folder, "killed")
    assert killed.returncode != 0
    assert time.monotonic() - began < 60.0
    tasks = ["gradient", "ess", "bad", "uninterrupted", "interrupted", "resumed_interrupted", "resumed_killed"]
    done = together(folder, *tasks)
    assert done.returncode == 0, done.stderr
    return folder


def result(folder: Path, task: str, rank: int = 0) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"{task}{rank}.pt")
    return found


def test_the_gradient_is_that_of_one_process_with_all_samples(folder) -> None:
    alone, shared = gradient(1), result(folder, "gradient")
    assert alone.keys() == shared.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(shared[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", ["gradient", "bad", "uninterrupted", "resumed_interrupted", "resumed_killed"])
def test_both_processes_have_the_same_weights_and_records(folder, task) -> None:
    one, two = result(folder, task, 0), result(folder, task, 1)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_what_is_not_finite_in_one_process_is_left_out_by_both(folder) -> None:
    step, _, _, evaluations, skipped = result(folder, "bad")["record"].tolist()
    assert (step, evaluations, skipped) == (12, 12 * 64, 1)


def test_the_effective_sample_size_is_that_of_all_samples(folder) -> None:
    both, nothing = result(folder, "ess")["ess"].tolist()
    assert both == pytest.approx(effective_sample_size(LOG_WEIGHTS), rel=1e-6)
    assert nothing == 0.0


@pytest.mark.parametrize("task", ["interrupted", "killed"])
def test_resumed_is_as_uninterrupted(folder, task) -> None:
    """After Ctrl-C and after SIGKILL of one process, each with random numbers and a buffer of its own."""
    for rank in (0, 1):
        expected, found = result(folder, "uninterrupted", rank), result(folder, f"resumed_{task}", rank)
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), name
    tensors, _ = read_tensors(folder / task / "checkpoints" / "last.safetensors", KIND, VERSION)
    assert not torch.equal(tensors["random"], tensors["rank1.random"])
    buffers = [name for name in tensors if name.startswith("memory.")]
    assert buffers
    assert any(not torch.equal(tensors[name], tensors[f"rank1.{name}"]) for name in buffers)


def command(directory: Path, *options: str) -> subprocess.Popen[str]:
    settings = ["--layers", "1", "--hidden", "8", "--bins", "4", "--batch-size", "16", "--steps", "100000"]
    arguments = ["train", "butane", *(options or settings), "--devices", "2", "--out", str(directory)]
    return subprocess.Popen(
        [sys.executable, "-m", "boltzflow", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listening(pid: int) -> set[str]:
    """The addresses on which a process or one of its descendants listens, as Linux writes them."""
    folder = Path(f"/proc/{pid}")
    try:
        sockets = {str(entry.readlink()) for entry in (folder / "fd").iterdir()}
        children = (folder / "task" / str(pid) / "children").read_text().split()
    except OSError:  # has ended meanwhile
        return set()
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(local.split(":")[0])
    return found.union(*(listening(int(child)) for child in children))


def wait_for_records(directory: Path, more_than: int = 0, pid: int | None = None) -> int:
    """Waits for a new record, and gives the number of lines; process `pid` listens on loopback alone meanwhile."""
    path = directory / "metrics.csv"
    for _ in range(600):
        if pid is not None:
            assert listening(pid) <= {"0100007F", "00000000000000000000000001000000"}
        if path.exists() and (lines := len(path.read_text().splitlines())) > more_than:
            return lines
        time.sleep(0.1)
    raise TimeoutError("There was no new record within a minute.")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_the_command_starts_its_processes_and_tells_that_one_was_killed(tmp_path, request) -> None:
    """They talk over loopback alone; the command ends with a sentence, and soon."""
    directory = tmp_path / "run"
    running = command(directory)
    request.addfinalizer(running.kill)
    wait_for_records(directory, pid=running.pid)
    assert listening(running.pid)  # the two do talk
    told = told_when_one_is_killed(running)
    kept = (directory / "checkpoints" / "last.safetensors").exists()
    assert f"was killed (SIGKILL). {'The last checkpoint is kept' if kept else 'There is no checkpoint yet'}:" in told


def told_when_one_is_killed(running: subprocess.Popen[str]) -> str:
    """What a command says whose process has been killed."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 1, told
    return told


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_command_that_was_interrupted_goes_on_until_it_is_killed(tmp_path, request) -> None:
    """Ctrl-C keeps a checkpoint too."""
    directory = tmp_path / "run"
    first = command(directory)
    request.addfinalizer(first.kill)
    lines = wait_for_records(directory)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=30)
    assert first.returncode == 130, told
    assert told.count("The last checkpoint is kept; resume with: boltzflow train butane") == 1
    _, header = read_tensors(directory / "checkpoints" / "last.safetensors", KIND, VERSION)
    assert header["progress"]["step"] >= 50

    second = command(directory, "--resume")
    request.addfinalizer(second.kill)
    wait_for_records(directory, more_than=lines)
    kept = "was killed (SIGKILL). The last checkpoint is kept: resume with the same command and --resume."
    assert kept in told_when_one_is_killed(second)
    assert read_tensors(directory / "checkpoints" / "last.safetensors", KIND, VERSION)[1]["progress"]["step"] >= 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells a process of its parent's end")
def test_no_process_outlives_the_command(tmp_path, request) -> None:
    """Killed without a word, it cannot end them; they would go on writing into a run that is being resumed."""
    running = command(tmp_path / "run")
    request.addfinalizer(running.kill)
    wait_for_records(tmp_path / "run")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    running.kill()
    running.communicate(timeout=30)
    assert len(children) >= 2
    for _ in range(100):
        if not any(Path(f"/proc/{child}").exists() for child in children):
            return
        time.sleep(0.1)
    raise AssertionError(f"Expected that processes {children} have ended.")


def test_what_cannot_be_is_refused(monkeypatch) -> None:
    options = {**OPTIONS, "steps": 1}
    with pytest.raises(OptionError, match="Expected a positive number of devices; got 0"):
        bf.train(double_well(), devices=0, **options)
    with pytest.raises(OptionError, match=r"torchrun --nproc-per-node 2 …', srun, .*; got 1"):
        bf.train(double_well(), devices=2, **options)
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match="got 3"):
        bf.train(double_well(), devices=2, **options)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'boltzflow\[fabric\]'"):
        bf.train(double_well(), devices=3, **options)
    monkeypatch.setattr("boltzflow.training.trainer.assemble", lambda *_: SingleProcess())
    with pytest.raises(OptionError, match="Expected a batch_size that is a multiple of the 3 devices; got 64"):
        bf.train(double_well(), devices=3, **options)


def test_each_process_has_random_numbers_of_its_own() -> None:
    teams = []
    for rank in range(64):
        group = MultiProcess.__new__(MultiProcess)
        group.rank, group.size = rank, 64
        teams.append(group)
    assert teams[0].seed(7) == SingleProcess().seed(7) == 7
    seeds = {group.seed(seed) for group in teams for seed in range(20)}
    assert len(seeds) == 64 * 20
    assert max(seeds) < 2**32


def test_one_device_needs_no_further_package() -> None:
    code = (
        "import sys, boltzflow as bf; from tests.training.conftest import double_well; "
        "bf.train(double_well(), steps=1, batch_size=8, compile=False, progress=False); "
        "print({'lightning_fabric', 'tensorboard'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
