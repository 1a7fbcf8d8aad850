"""Progress bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from boltzflow.simulation import Progress as Tempering
from boltzflow.workflows import training as runs


@contextmanager
def progress(what: str, total: int) -> Iterator[runs.Progress]:
    """A progress bar that appears with the first call."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(what, total=total)

    def drawn(done: int) -> None:
        bar.start()
        bar.update(task, completed=done)

    try:
        yield drawn
    finally:
        if bar.live.is_started:  # otherwise stopping would print an empty line
            bar.stop()


@contextmanager
def tempering_progress() -> Iterator[Callable[[Tempering], None]]:
    """A progress bar in picoseconds, with speeds, that appears with the first call."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True))
    task = bar.add_task("sampling, ps", total=None, state="")
    began: list[tuple[float, Tempering]] = []

    def told(now: Tempering) -> None:
        bar.start()
        began.append((time.monotonic(), now))
        del began[1:-1]
        (start, first), (moment, last) = began[0], began[-1]
        seconds = max(moment - start, 1e-9)
        days = (last.picoseconds - first.picoseconds) * last.replicas * 1e-3 * 86400 / seconds
        rate = (last.evaluations - first.evaluations) / seconds
        state = f"{days:,.0f} ns/day  {rate:,.0f} frames/s  {now.acceptance:.0%} of swaps"
        bar.update(task, total=round(now.total), completed=round(now.picoseconds, 1), state=state)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()
