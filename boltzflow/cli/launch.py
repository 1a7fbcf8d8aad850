"""Starts the command again as several processes on this machine, isolated from the network."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from pathlib import Path

import torch
import typer

from boltzflow.cli.root import INTERRUPTED
from boltzflow.errors import ProcessError
from boltzflow.process import end_with_parent
from boltzflow.training.distributed import STORE

_LAUNCHER = "BOLTZFLOW_LAUNCHER"
"""The environment variable with the id of the process that started the others."""


def launch(processes: int, checkpoint: Path) -> None:
    """Run this command as several processes on this machine, and wait for them.

    They connect through a file that only this user can open, and communicate over the loopback interface. The error
    says whether there is a checkpoint.

    Raises:
        ProcessError: if a process is killed; the others are then terminated.
        typer.Exit: with the exit code of a process that fails otherwise and has printed its own error.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes
    from torch.distributed.elastic.multiprocessing.api import SignalException

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # failures are reported below
    # Divide the threads of this machine; a setting in the user's environment takes precedence.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
    with tempfile.TemporaryDirectory(prefix="boltzflow-") as folder:  # mode 0700
        together = {
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "boltzflow",
            "GLOO_SOCKET_IFNAME": loopback,
            "NCCL_SOCKET_IFNAME": f"={loopback}",
            STORE: str(Path(folder) / "store"),
            _LAUNCHER: str(os.getpid()),
        }
        ranks = range(processes)
        context = start_processes(
            "boltzflow",
            sys.executable,
            args=dict.fromkeys(ranks, ("-m", "boltzflow", *sys.argv[1:])),
            envs={rank: {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks},
            logs_specs=DefaultLogsSpecs(),
        )
        try:
            result = context.wait(period=0.1)
        except SignalException as stop:
            context.close(stop.sigval)
            raise typer.Exit(INTERRUPTED) from None
    if result is None or not result.failures:
        return
    failure = min(result.failures.values(), key=lambda one: one.timestamp)
    if failure.exitcode > 0:
        raise typer.Exit(failure.exitcode)
    kept = "The last checkpoint is kept" if checkpoint.is_file() else "There is no checkpoint yet"
    raise ProcessError(
        f"Process {failure.local_rank} of {processes} was killed ({failure.signal_name()}). {kept}: resume with the "
        "same command and --resume."
    )


def end_with_launcher() -> None:
    """Let this process end with its launcher, if it has one."""
    if _LAUNCHER in os.environ:
        end_with_parent(int(os.environ[_LAUNCHER]))
