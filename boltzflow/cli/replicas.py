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
        list[Path], typer.Argument(metavar="DIR DIR…", help="Run directories that differ only in --seed.")
    ],
) -> None:
    """Check whether trainings with different seeds agree.

    Compares log Z and the population of the rare basin. This reveals a basin
    that one training has lost and another has not. The result is added to
    each summary.json.

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
    """Raise unless these are trainings with different seeds, as far as known: a training agrees with itself."""
    for one, other in combinations(directories, 2):
        if one.resolve() == other.resolve():
            raise DataError(f"Expected directories of different trainings; got {one} twice.")
        if (seed := training_seed(one)) is not None and seed == training_seed(other):
            raise DataError(f"Expected trainings with different seeds; {one} and {other} both have seed {seed}.")
