"""Starts the command line again as several processes, by torch's own launcher."""

from __future__ import annotations

import logging
import os
import sys

import torch
import typer

from boltzflow.cli.root import INTERRUPTED
from boltzflow.errors import ProcessError


def launch(processes: int) -> None:
    """Run this same command as so many processes on this machine, and wait for them.

    Raises:
        ProcessError: if one of them is killed; the others are ended then.
        typer.Exit: with the exit code of one that fails in another way, which has said itself what is wrong.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what has failed is told below
    # This machine's threads are shared; a choice that the user has made in the environment stays.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="boltzflow",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "boltzflow", *sys.argv[1:])
    except SignalException:
        raise typer.Exit(INTERRUPTED) from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            raise typer.Exit(failure.exitcode) from None
        raise ProcessError(
            f"Process {rank} of {processes} was killed ({failure.signal_name()}). The last checkpoint is kept: "
            "go on with the same command and --resume."
        ) from None
