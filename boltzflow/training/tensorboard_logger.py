"""Logs the records of a training for TensorBoard."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from boltzflow.errors import MissingDependencyError
from boltzflow.training.history import Record


class TensorBoardLogger:
    """Writes every number of each record to a directory that TensorBoard reads.

    Args:
        directory: of the event files.
        step: the step after which training continues; events of later steps from an earlier run are discarded.

    Raises:
        MissingDependencyError: if tensorboard is not installed.
    """

    def __init__(self, directory: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "Logging for TensorBoard needs the package tensorboard: pip install 'boltzflow[tensorboard]'."
            ) from error
        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def write(self, record: Record) -> None:
        """Log the numbers of a record at its step."""
        for name, value in asdict(record).items():
            if name != "step":
                self._writer.add_scalar(name, value, record.step)
        self._writer.flush()

    def close(self) -> None:
        """Write remaining events."""
        self._writer.close()
