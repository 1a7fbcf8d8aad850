"""Checks, before work starts, that memory and disk are large enough for it."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from boltzflow.errors import OptionError

_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """The memory in bytes available to this process: of the machine, its container or its limit, whichever is least."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    for file in _CONTROL_GROUPS:
        try:
            found.append(int(Path(file).read_text(encoding="ascii")))
        except (OSError, ValueError):  # another system, or "max"
            continue
    return min(found)


def check_memory(needed: int, what: str, available: int | None = None) -> None:
    """Raise unless `needed` bytes are available; by default out of this process's `memory`.

    Raises:
        OptionError: states what is needed and what is available.

    >>> check_memory(2**60, "999 samples", available=2**34)
    Traceback (most recent call last):
        ...
    boltzflow.errors.OptionError: Expected 999 samples that fit in memory; they need about 1.1e+09 GiB of the 16 GiB
    there.
    """
    available = memory() if available is None else available
    if needed > available:
        raise OptionError(
            f"Expected {what} that fit in memory; they need about {_gib(needed)} of the {_gib(available)} there."
        )


def check_disk(directory: Path, needed: int, what: str) -> None:
    """Raise unless `needed` bytes are free on the disk of an existing `directory`.

    Raises:
        OptionError: states what is needed and what is free.
    """
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise OptionError(
            f"Expected {what} that fit on the disk of {directory}; they need about {_gib(needed)} of {_gib(free)} free."
        )


def _gib(size: int) -> str:
    gib = size / 2**30
    return f"{gib:.2g} GiB" if gib < 10 or gib >= 1e5 else f"{gib:.0f} GiB"
