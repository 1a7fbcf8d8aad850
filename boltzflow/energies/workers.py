"""Processes that evaluate frames, and may die without harm."""

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
"""Energies (n,) in kJ/mol, NaN where a frame failed; forces (n, N, 3) in kJ/(mol nm) if they were asked for."""

_DEATHS_IN_A_ROW = 32
"""So many deaths without one answer between them: it is not a single frame that kills."""

_PATIENCE = 5.0
"""Seconds that idle processes have to end by themselves."""

_START = range(0)
"""The part of a worker that is still starting."""


class Evaluator(Protocol):
    """Evaluates frames (n, N, 3) in nm."""

    def __call__(self, frames: Array, forces: bool) -> Answer: ...


class Recipe(Protocol):
    """What an evaluator is made from; it is pickled on its way to a worker."""

    def build(self) -> Evaluator:
        """A new evaluator."""


class WorkerPool:
    """Processes that evaluate parts of a batch, each with an evaluator of its own.

    They are started by ``spawn``: a forked process inherits the locks, but not the threads, of torch and OpenMM.
    When one dies, its part is cut in two and given out again, until the frame that kills is alone; a frame on
    which two processes have died has no energy. The other processes keep their parts; ``concurrent.futures`` would
    give up all of them, and would not say which frames the dead one had.

    Args:
        recipe: of the evaluators.
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
        """Whether it is open, and belongs to this process: the processes of a pool are not those of its forks."""
        return self.close.alive and os.getpid() == self._owner

    @property
    def processes(self) -> list[SpawnProcess]:
        """The processes that have been started and not ended."""
        return [worker.process for worker in self._workers]

    def evaluate(
        self, parts: list[range], frames: Callable[[range], Array], forces: bool
    ) -> Generator[tuple[range, Answer], None, None]:
        """Answers for the parts of a batch, as they come. An exception, or a caller who stops, closes the pool.

        Args:
            parts: indices of frames.
            frames: gives the positions (n, N, 3) of a part, nm.
            forces: whether forces are wanted.

        Raises:
            EvaluationError: if a worker cannot start, an evaluator gives up, or workers keep dying.
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
                                f"Two workers ended ({reason}) on one frame: its energy is +inf.", stacklevel=7
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
        """A part for each idle worker, and new workers for what is left."""
        for worker in self._workers:
            if todo and worker.part is None:
                worker.part = todo.popleft()
                with suppress(OSError):  # it has died: who reads its answer will see that
                    worker.pipe.send((frames(worker.part), forces))
        starting = sum(worker.part is _START for worker in self._workers)
        while len(self._workers) < self._size and starting < len(todo):
            self._workers.append(_Worker.start(self._recipe))
            starting += 1

    def _bury(self, worker: _Worker, part: range) -> str:
        """Forget a worker that has died on a part; says why."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        reason = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if code >= 0 and not part:
            raise EvaluationError(
                f"A worker ended ({reason}) while it started: does the script have its `if __name__ == '__main__':`?"
            )
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row == _DEATHS_IN_A_ROW:
            raise EvaluationError(f"{_DEATHS_IN_A_ROW} workers in a row ended ({reason}) before they had an answer.")
        return reason


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    part: range | None = _START
    """What it works on; None if it is idle."""

    @classmethod
    def start(cls, recipe: Recipe) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(recipe, there), daemon=True)
        with _interrupts_held_back():
            process.start()
        there.close()  # so that `here` ends when the process does
        return cls(process, here)


def _serve(recipe: Recipe, pipe: Connection) -> None:
    """What a worker does until its pipe ends. Ctrl-C is for the main process, which then ends the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    evaluate = _attempt(recipe.build)
    with suppress(EOFError, OSError):
        pipe.send(evaluate if isinstance(evaluate, EvaluationError) else None)
        while True:
            pipe.send(_attempt(evaluate, *pipe.recv()))


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; for what it raises an error that can be sent, with the traceback as a note."""
    try:
        return function(*arguments)
    except Exception as error:
        failure = error if isinstance(error, EvaluationError) else EvaluationError(f"A worker failed: {error!r}.")
        failure.add_note(traceback.format_exc())
        return failure


def _halves(part: range) -> list[range]:
    """A part in two pieces, the later one first; a single frame stays as it is."""
    middle = (part.start + part.stop) // 2
    return [half for half in (range(middle, part.stop), range(part.start, middle)) if half]


def _stop(workers: list[_Worker], owner: int) -> None:
    """End the processes; nothing if this is a fork of their owner."""
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
    """Processes started meanwhile are born deaf to Ctrl-C, before they can say so themselves."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
