"""Settings of the whole process: made by programs (command line, benchmarks), never by the library."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # names and values of glibc's malloc.h
_KEPT = 2**30  # bytes

_PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def let_waiting_threads_sleep() -> None:
    """Let OpenMP threads sleep at barriers instead of spinning; to be called before torch is loaded.

    Where other programs want the same cores, spinning threads take the cores from those that they wait for,
    and a step takes many times as long. A choice that the user has made in the environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks instead of giving them back to the kernel; whether that could be set.

    Tensors of a training step are freed and wanted again at once; without this each of them costs page
    faults, which can take most of an eager step on a CPU. All threads share what is kept. To be called before
    threads are started.
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
    """End this process as soon as the one that has started it is gone, even if that was killed (on Linux).

    Else it would go on writing into a run that is being resumed.

    Args:
        parent: id of that process, which may be gone already.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
