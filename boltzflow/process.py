"""Settings of the whole process, made by programs (command line, benchmarks) and never by the library."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # names and values of glibc's malloc.h
_KEPT = 2**30  # bytes

_PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def let_waiting_threads_sleep() -> None:
    """Let OpenMP threads sleep at barriers instead of spinning; call it before torch is imported.

    If other programs use the same cores, spinning threads block the threads that they wait for, and a step takes many
    times longer. A setting in the user's environment takes precedence.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of returning it to the kernel; returns whether this was set.

    A training step frees tensors and allocates them again at once. Without this setting, each allocation causes page
    faults, which can take most of an eager step on a CPU. All threads share the kept memory. Call it before threads are
    started.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    wanted = {_M_MMAP_THRESHOLD: _KEPT, _M_TRIM_THRESHOLD: _KEPT, _M_TOP_PAD: 2**26, _M_ARENA_MAX: 1}
    accepted = [mallopt(option, value) == 1 for option, value in wanted.items()]
    return all(accepted)


def end_with_parent(parent: int) -> None:
    """End this process as soon as its parent has ended, even if the parent was killed (on Linux).

    Otherwise it would continue to write into a run that is being resumed.

    Args:
        parent: id of the parent process, which may have ended already.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
