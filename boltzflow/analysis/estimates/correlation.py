"""Frames of a simulation remember each other: how many of them are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, ShapeError
from boltzflow.mbar import load_pymbar


def statistical_inefficiency(series: ArrayLike) -> float:
    """After how many frames of a time series the next independent one comes: 1 + 2τ, at least 1.

    By the autocorrelation function up to its first zero (Chodera et al. 2007, DOI 10.1021/ct0502864), as pymbar has it.

    Args:
        series: (n,), frames in the order of time, of one trajectory.

    Raises:
        ShapeError: if it is not one series of at least two values.
        NonFiniteError: if a value is NaN or infinite.

    >>> statistical_inefficiency([1.0, 1.0, 1.0])
    1.0
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ShapeError(f"Expected a time series of at least 2 values; got an array of shape {values.shape}.")
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"Expected a time series of finite values; {np.sum(~np.isfinite(values))} of {len(values)} are NaN or "
            "infinite."
        )
    if values.std() <= 1e-12 * np.abs(values).max():
        return 1.0
    return float(load_pymbar().timeseries.statistical_inefficiency(values))


def decorrelated(trajectory: Ensemble, series: ArrayLike | None = None) -> Ensemble:
    """The frames of a trajectory that are independent of each other, by a slow observable.

    Errors of what is computed from them, by MBAR or by weights, are then honest. Frames of one trajectory in the order
    of time are meant: several, of more than one group, are thinned out one by one. What is left has no groups, and
    weights that are as absolute as they were.

    Args:
        trajectory: frames in the order of time.
        series: the slowest observable, (n,); the energies if not given, which often are faster than a torsion.

    Raises:
        ShapeError: if there is not one value for each frame.
        DataError: if the frames are of several groups, or there are neither energies nor a series.
        NonFiniteError: if a value is NaN or infinite.
    """
    known = trajectory.energies_for("`decorrelated` without a series") if series is None else series
    values = np.asarray(known, dtype=np.float64)
    if values.shape != (len(trajectory),):
        raise ShapeError(f"Expected a value for each of the {len(trajectory)} frames; got shape {values.shape}.")
    if trajectory.groups is not None and (chains := len(np.unique(trajectory.groups))) > 1:
        raise DataError(
            f"Expected the frames of one trajectory; got those of {chains} groups. Thin out one by one: "
            "`ensemble[ensemble.groups == k]`."
        )
    g = statistical_inefficiency(values)
    kept = np.asarray(load_pymbar().timeseries.subsample_correlated_data(values, g=g))
    # Chosen by their places in time, not by their weights: the mean of these is what it was.
    return trajectory.replace(frames=kept, groups=None, absolute=trajectory.absolute)
