"""boltzflow replicas."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from boltzflow.analysis import compare_replicas
from boltzflow.analysis.report.numbers import told
from boltzflow.analysis.report.summary import add_to_summaries, training_seed
from boltzflow.cli.root import app
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError


@app.command()
def replicas(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR…", help="Run directories that differ in --seed alone.")
    ],
) -> None:
    """Whether trainings with other seeds have found the same equilibrium.

    Compares log Z and the share of the rare basin; what a training has lost
    and another has not shows there. The finding goes into each summary.json.

    Example:

        boltzflow replicas runs/seed0 runs/seed1 runs/seed2
    """
    _check_seeds(directories)
    check = compare_replicas([Ensemble.load(directory) for directory in directories])
    add_to_summaries(directories, "replica_check", check)
    for directory, log_z in zip(directories, check.log_z, strict=True):
        typer.echo(f"{directory!s:24} log Z {told(log_z.value, '.4f')} ± {told(log_z.error, '.4f')}")
    typer.echo(str(check.verdict))


def _check_seeds(directories: list[Path]) -> None:
    """Raise unless these are trainings of different seeds, as far as they say: one agrees with itself."""
    for one, other in combinations(directories, 2):
        if one.resolve() == other.resolve():
            raise DataError(f"Expected directories of different trainings; got {one} twice.")
        if (seed := training_seed(one)) is not None and seed == training_seed(other):
            raise DataError(f"Expected trainings of different seeds; {one} and {other} are both of seed {seed}.")
