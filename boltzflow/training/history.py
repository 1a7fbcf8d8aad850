"""The history of a training, step by step."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from boltzflow.storage import replace_file


@dataclass(frozen=True)
class Record:
    """One line of `metrics.csv`.

    Attributes:
        step: number of completed steps.
        temperature_K: temperature of the step; for a temperature range the lowest one.
        loss: value of the objective, in kT (up to log Z).
        ess: effective sample size of the step's batch, as a fraction, at the step's temperature; for several
            temperatures the harmonic mean.
        gradient_norm: before clipping.
        learning_rate: of the step.
        skipped_steps: steps skipped so far, because loss or gradient was not finite.
        failed_frames: number of samples so far that the potential could not evaluate.
        energy_evaluations: number so far.
        seconds: wall time so far, including earlier parts of a resumed run.
    """

    step: int
    temperature_K: float
    loss: float
    ess: float
    gradient_norm: float
    learning_rate: float
    skipped_steps: int
    failed_frames: int
    energy_evaluations: int
    seconds: float


COLUMNS = tuple(f.name for f in fields(Record))


@dataclass
class History:
    """The records of a training, and its settings.

    Attributes:
        records: one for each logged step.
        settings: of the training.
        stopped_early: whether training ended before the last step because the ESS had stopped rising.
    """

    records: list[Record] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    stopped_early: bool = False

    @property
    def last(self) -> Record:
        """The latest record."""
        return self.records[-1]

    def write_csv(self, path: Path) -> None:
        """Write all records."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(asdict(record) for record in self.records)
        replace_file(path, text.getvalue())
