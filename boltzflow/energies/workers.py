"""Worker processes that evaluate frames; crashes are handled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import numpy as np

from boltzflow.arrays import Array
from boltzflow.errors import EvaluationError

Answer = tuple[Array, Array | None]
"""Energies (n,) in kJ/mol, NaN for failed frames; forces (n, N, 3) in kJ/(mol nm) if requested."""

_DEATHS_IN_A_ROW = 32
"""Consecutive crashes without a result, after which a single frame cannot be the cause."""

_PATIENCE = 5.0
"""Seconds that idle processes have to exit by themselves."""

_START = range(0)
"""The part assigned to a worker that is still starting."""


class Evaluator(Protocol):
    """Evaluates frames (n, N, 3) in nm."""

    def __call__(self, frames: Array, forces: bool) -> Answer: ...


class Recipe(Protocol):
    """The data from which an evaluator is created; it is pickled and sent to workers."""

    def build(self) -> Evaluator:
        """A new evaluator."""


class WorkerPool:
    """Processes that evaluate parts of a batch, each with its own evaluator.

    They are started with ``spawn``, because a forked process inherits the locks, but not the threads, of torch and
    OpenMM. If a process crashes, its part is split in two and assigned again, until the frame that causes the crash is
    alone; a frame on which two processes have crashed has no energy. The other processes continue.
    ``concurrent.futures`` would stop all of them, and would not report which frames the crashed process had.

    Args:
        recipe: creates the evaluators.
        size: number of processes.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self._recipe = recipe
        self._size = size
        self._owner = os.getpid()
        self._workers: list[_Worker] = []
        self._deaths_in_a_row = 0
        self.close = weakref.finalize(self, _stop, self._workers, self._owner)

    @property
    def usable(self) -> bool:
        """Whether the pool is open and belongs to this process; a forked process cannot use its parent's pool."""
        return self.close.alive and os.getpid() == self._owner

    @property
    def processes(self) -> list[SpawnProcess]:
        """The processes that have been started and not ended."""
        return [worker.process for worker in self._workers]

    def evaluate(
        self, parts: list[range], frames: Callable[[range], Array], forces: bool
    ) -> Generator[tuple[range, Answer], None, None]:
        """Yields the answers for the parts of a batch as they arrive. An exception or an early stop closes the pool.

        Args:
            parts: indices of frames.
            frames: returns the positions (n, N, 3) of a part, nm.
            forces: whether forces are requested.

        Raises:
            EvaluationError: if a worker cannot start, an evaluator raises an error, or workers crash repeatedly.
        """
        todo, deadly = deque(parts), set[range]()
        try:
            while todo or any(worker.part for worker in self._workers):
                self._hand_out(todo, frames, forces)
                ready = wait([worker.pipe for worker in self._workers if worker.part is not None])
                for worker in [worker for worker in self._workers if worker.pipe in ready]:
                    part, worker.part = worker.part or _START, None
                    try:
                        answer = worker.pipe.recv()
                    except (EOFError, OSError):
                        reason = self._bury(worker, part)
                        if len(part) == 1 and part in deadly:
                            warnings.warn(
                                f"Two workers crashed ({reason}) on one frame: its energy is +inf.", stacklevel=7
                            )
                            yield part, (np.full(1, np.nan), np.zeros_like(frames(part)) if forces else None)
                        else:
                            deadly.add(part)
                            todo.extendleft(_halves(part))
                        continue
                    if isinstance(answer, EvaluationError):
                        raise answer
                    if part:
                        self._deaths_in_a_row = 0
                        yield part, answer
        except BaseException:
            for process in self.processes:
                process.kill()
            self.close()
            raise

    def _hand_out(self, todo: deque[range], frames: Callable[[range], Array], forces: bool) -> None:
        """Assigns a part to each idle worker, and starts new workers for the remaining parts."""
        for worker in self._workers:
            if todo and worker.part is None:
                worker.part = todo.popleft()
                with suppress(OSError):  # it has crashed, which is detected when its answer is read
                    worker.pipe.send((frames(worker.part), forces))
        starting = sum(worker.part is _START for worker in self._workers)
        while len(self._workers) < self._size and starting < len(todo):
            self._workers.append(_Worker.start(self._recipe))
            starting += 1

    def _bury(self, worker: _Worker, part: range) -> str:
        """Removes a worker that has crashed on a part; returns the reason."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        reason = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if code >= 0 and not part:
            raise EvaluationError(
                f"A worker exited ({reason}) during startup: does the script have `if __name__ == '__main__':`?"
            )
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row == _DEATHS_IN_A_ROW:
            raise EvaluationError(f"{_DEATHS_IN_A_ROW} workers in a row crashed ({reason}) without a result.")
        return reason


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    part: range | None = _START
    """The part that it evaluates; None if it is idle."""

    @classmethod
    def start(cls, recipe: Recipe) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(recipe, there), daemon=True)
        with _interrupts_held_back():
            process.start()
        there.close()  # so that `here` closes when the process exits
        return cls(process, here)


def _serve(recipe: Recipe, pipe: Connection) -> None:
    """The main loop of a worker, until its pipe closes. Only the main process handles Ctrl-C; it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    evaluate = _attempt(recipe.build)
    with suppress(EOFError, OSError):
        pipe.send(evaluate if isinstance(evaluate, EvaluationError) else None)
        while True:
            pipe.send(_attempt(evaluate, *pipe.recv()))


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's return value, or, if it raises, an error that can be pickled, with the traceback as a note."""
    try:
        return function(*arguments)
    except Exception as error:
        failure = error if isinstance(error, EvaluationError) else EvaluationError(f"A worker failed: {error!r}.")
        failure.add_note(traceback.format_exc())
        return failure


def _halves(part: range) -> list[range]:
    """A part split in two, the later half first; a single frame is not split."""
    middle = (part.start + part.stop) // 2
    return [half for half in (range(middle, part.stop), range(part.start, middle)) if half]


def _stop(workers: list[_Worker], owner: int) -> None:
    """Stops the processes; does nothing in a fork of their owner."""
    if os.getpid() != owner:
        return
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
    workers.clear()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started in this context, before they can block it themselves."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it later would unblock interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
