"""Frames shared among processes that die, hang, fail to start and are interrupted."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from boltzflow.energies import workers as workers_module
from boltzflow.energies.framewise import FramewisePotential
from boltzflow.errors import EvaluationError, OptionError
from tests.energies.evaluators import FAIL, KILL, KILL_ONCE, RAISE, SLEEP, Obedient

ROOT = Path(__file__).parents[2]


class ObedientPotential(FramewisePotential):
    def __init__(self, folder: Path, workers: int = 0, refuses_to_start: bool = False) -> None:
        super().__init__(2, Obedient(folder, refuses_to_start), workers)


def frames_with(orders: dict[int, float], n: int = 40) -> torch.Tensor:
    """n random frames of two atoms; what is to happen to which."""
    frames = torch.randn(n, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for index, order in orders.items():
        frames[index, 0, 0] = order
    return frames


def assert_right(potential: ObedientPotential, frames: torch.Tensor, failed: list[int]) -> None:
    """Evaluates the frames; all but the failed ones must be right, and the counters too."""
    energy, forces = potential.energy_and_forces(frames)
    expected, expected_forces = 0.5 * (frames**2).sum((1, 2)), -frames
    expected[failed], expected_forces[failed] = torch.inf, 0.0
    torch.testing.assert_close(energy, expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(forces, expected_forces, rtol=0, atol=0)
    assert potential.evaluations == len(frames)
    assert potential.failed == len(failed)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("n", [0, 1, 3, 100_000])
def test_every_frame_is_answered_in_its_place(tmp_path: Path, workers: int, n: int) -> None:
    failed = [n - 1] if n else []
    with ObedientPotential(tmp_path, workers) as potential:
        assert_right(potential, frames_with(dict.fromkeys(failed, FAIL), n), failed)


def test_frames_of_a_dead_worker_are_evaluated_again(tmp_path: Path) -> None:
    with ObedientPotential(tmp_path, workers=2) as potential:
        assert_right(potential, frames_with({17: KILL_ONCE}), [])
        assert (tmp_path / "killed").exists()


@pytest.mark.parametrize("orders", [{0: KILL}, {39: KILL, 38: KILL_ONCE}])
def test_a_frame_that_kills_is_infinite_alone(tmp_path: Path, orders: dict[int, float]) -> None:
    killers = [index for index, order in orders.items() if order == KILL]
    with (
        ObedientPotential(tmp_path, workers=2) as potential,
        pytest.warns(UserWarning, match=r"Two workers crashed \(SIGKILL\) on one frame: its energy is \+inf") as caught,
    ):
        assert_right(potential, frames_with(orders), killers)
    assert len(caught) == len(killers)
    assert caught[0].filename == __file__


def test_workers_killed_from_outside_lose_nothing(tmp_path: Path) -> None:
    with ObedientPotential(tmp_path, workers=2) as potential:
        potential.energy(frames_with({}))  # they are started
        potential.evaluations = 0
        assert potential._pool is not None
        processes = potential._pool.processes
        victims = [process.pid for process in processes]

        def kill_them_in_turn() -> None:
            for pid in victims:
                time.sleep(0.3)
                os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_them_in_turn)
        killer.start()
        assert_right(potential, frames_with(dict.fromkeys(range(0, 40, 4), SLEEP)), [])
        killer.join()
        assert not set(victims) & {process.pid for process in potential._pool.processes}


def test_workers_that_died_between_two_batches_are_replaced(tmp_path: Path) -> None:
    with ObedientPotential(tmp_path, workers=1) as potential:
        potential.energy(frames_with({}, 3))
        assert potential._pool is not None
        (process,) = potential._pool.processes
        process.kill()
        process.join()
        potential.evaluations = 0
        assert_right(potential, frames_with({}), [])


def test_a_worker_killed_while_it_starts_is_replaced(tmp_path: Path) -> None:
    with ObedientPotential(tmp_path, workers=1) as potential:

        def kill_the_first() -> None:
            while potential._pool is None or not potential._pool.processes:
                time.sleep(0.001)
            potential._pool.processes[0].kill()

        killer = threading.Thread(target=kill_the_first)
        killer.start()
        assert_right(potential, frames_with({}), [])
        killer.join()


def test_workers_that_keep_dying_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_DEATHS_IN_A_ROW", 3)
    with ObedientPotential(tmp_path, workers=1) as potential:
        with pytest.raises(EvaluationError, match=r"3 workers in a row crashed \(SIGKILL\)"):
            potential.energy(frames_with(dict.fromkeys(range(40), KILL)))
        assert potential._pool is not None
        assert not potential._pool.usable
        assert not potential._pool.processes
        potential.evaluations = 0
        assert_right(potential, frames_with({}, 3), [])  # with new workers


def test_errors_of_a_worker_arrive_with_their_traceback(tmp_path: Path) -> None:
    with ObedientPotential(tmp_path, workers=1) as potential:
        with pytest.raises(EvaluationError, match=r"A worker failed: ValueError.*unheard-of") as caught:
            potential.energy(frames_with({5: RAISE}))
        assert "evaluators.py" in caught.value.__notes__[0]
    with (
        ObedientPotential(tmp_path, workers=1, refuses_to_start=True) as potential,
        pytest.raises(EvaluationError, match="no such force field"),
    ):
        potential.energy(frames_with({}))


def test_closing_ends_the_processes_and_a_later_call_starts_others(tmp_path: Path) -> None:
    potential = ObedientPotential(tmp_path, workers=2)
    potential.energy(frames_with({}))
    assert potential._pool is not None
    pids = [process.pid for process in potential._pool.processes]
    assert 1 <= len(pids) <= 2
    twin = pickle.loads(pickle.dumps(potential))
    potential.close()
    potential.close()
    assert not any(is_running(pid) for pid in pids)
    assert potential.energy(frames_with({})).isfinite().all()
    pids = [process.pid for process in potential._pool.processes]
    del potential
    assert not any(is_running(pid) for pid in pids)
    assert twin._pool is None
    assert twin.evaluations == 40


def test_a_caller_who_stops_early_stops_the_pool(tmp_path: Path) -> None:
    frames = frames_with({}, 8).numpy()
    pool = workers_module.WorkerPool(Obedient(tmp_path), 2)
    answers = pool.evaluate([range(i, i + 1) for i in range(8)], lambda part: frames[part.start : part.stop], False)
    next(answers)
    pids = [process.pid for process in pool.processes]
    answers.close()
    assert not pool.usable
    assert not any(is_running(pid) for pid in pids)


def test_threads_take_turns(tmp_path: Path) -> None:
    frames = frames_with({3: SLEEP}, 8)
    expected = 0.5 * (frames**2).sum((1, 2))
    with ObedientPotential(tmp_path, workers=1) as potential:
        answers: list[torch.Tensor] = []
        threads = [threading.Thread(target=lambda: answers.append(potential.energy(frames))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 3
    for answer in answers:
        torch.testing.assert_close(answer, expected, rtol=1e-14, atol=0)


def test_a_negative_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="workers ≥ 0; got -1"):
        ObedientPotential(tmp_path, workers=-1)


# -- whole programs ----------------------------------------------------------------------------------------

HEAD = """
import sys
from pathlib import Path

import numpy as np

from boltzflow.energies.workers import WorkerPool
from tests.energies.evaluators import SLEEP, Obedient

def main():
    pool = WorkerPool(Obedient(Path()), 2)
    frames = np.zeros((20, 2, 3))

    def energy():
        parts = [range(i, i + 2) for i in range(0, 20, 2)]
        return sum(e.sum() for _, (e, _) in pool.evaluate(parts, lambda part: frames[part], False))

"""
GUARD = "if __name__ == '__main__':\n    main()\n"


def start(folder: Path, code: str, guard: str = GUARD) -> subprocess.Popen[str]:
    """A program that does this with its `pool`, in a session, so in a process group, of its own."""
    (folder / "program.py").write_text(HEAD + textwrap.indent(code, "    ") + "\n" + guard, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_running(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


def group_is_empty(group: int) -> bool:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_end_of_the_program_ends_the_workers(tmp_path: Path) -> None:
    program = start(tmp_path, "print(energy())")
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "0.0\n", "")
    assert group_is_empty(program.pid)


def test_interrupt_in_mid_batch_leaves_one_traceback_and_no_process(tmp_path: Path) -> None:
    code = """
energy()
frames[:, 0, 0] = SLEEP
print(len(pool.processes), flush=True)
try:
    energy()
finally:
    print(len(pool.processes))
"""
    program = start(tmp_path, code)
    assert program.stdout is not None
    assert program.stdout.readline() in ("1\n", "2\n")
    time.sleep(0.3)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = program.communicate(timeout=60)
    assert out == "0\n"
    assert err.count("Traceback") == 1
    assert err.endswith("KeyboardInterrupt\n")
    assert group_is_empty(program.pid)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15])
def test_interrupt_while_workers_start_is_quiet_too(tmp_path: Path, seconds: float) -> None:
    program = start(tmp_path, "frames[:, 0, 0] = SLEEP\nprint(flush=True), energy()")
    assert program.stdout is not None
    program.stdout.readline()
    time.sleep(seconds)
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert err.count("Traceback") == 1
    assert err.endswith("KeyboardInterrupt\n")
    assert group_is_empty(program.pid)


def test_workers_end_when_their_program_is_killed(tmp_path: Path) -> None:
    program = start(tmp_path, "energy(), print(flush=True), input()")
    assert program.stdout is not None
    program.stdout.readline()
    program.kill()
    program.communicate(timeout=60)
    assert group_is_empty(program.pid)


def test_a_forked_process_starts_workers_of_its_own(tmp_path: Path) -> None:
    code = """
import multiprocessing
import torch
from boltzflow.energies.framewise import FramewisePotential
potential = FramewisePotential(2, Obedient(Path()), workers=2)
x = torch.ones(20, 2, 3)

def processes():
    return {process.pid for process in potential._pool.processes}

def in_the_fork():
    print(potential.energy(x).sum().item(), flush=True)
    sys.exit(int(bool(mine & processes())))

print(potential.energy(x).sum().item(), flush=True)
mine = processes()
fork = multiprocessing.get_context("fork").Process(target=in_the_fork)
fork.start()
fork.join()
assert fork.exitcode == 0
print(potential.energy(x).sum().item())
assert mine <= processes()  # the end of the fork has not ended them
"""
    program = start(tmp_path, code)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "60.0\n" * 3, "")
    assert group_is_empty(program.pid)


def test_a_script_without_guard_is_told_so(tmp_path: Path) -> None:
    program = start(tmp_path, "energy()", guard="main()\n")
    _, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "A worker exited (exit code 1) during startup: does the script have `if __name__" in err
    assert group_is_empty(program.pid)
