"""Delays Ctrl-C until a step is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[list[int]]:
    """Hold Ctrl-C back until the block ends; yields a list that is not empty once it was pressed.

    Only the main thread receives Ctrl-C, so in other threads this does nothing.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, then raise KeyboardInterrupt."""
    with held() as caught:
        yield
    if caught:
        raise KeyboardInterrupt
