"""Time correlation of simulation frames: how many of them are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, ShapeError
from boltzflow.mbar import load_pymbar


def statistical_inefficiency(series: ArrayLike) -> float:
    """The statistical inefficiency g = 1 + 2τ ≥ 1 of a time series: one frame in g is independent.

    It uses the autocorrelation function up to its first zero (Chodera et al. 2007, DOI 10.1021/ct0502864), as
    implemented in pymbar.

    Args:
        series: (n,), values of one trajectory in time order.

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
    """Subsample a trajectory to frames that are independent of each other, judged by a slow observable.

    Errors computed from these frames, by MBAR or with weights, are then correct. The frames must be those of one
    trajectory in time order; subsample several trajectories (groups) one by one. The result has no groups, and its
    weights are absolute if they were before.

    Args:
        trajectory: frames in time order.
        series: the slowest observable, (n,). By default the energies, which often decorrelate faster than torsions.

    Raises:
        ShapeError: if there is not one value for each frame.
        DataError: if the frames belong to several groups, or there are neither energies nor a series.
        NonFiniteError: if a value is NaN or infinite.
    """
    known = trajectory.energies_for("`decorrelated` without a series") if series is None else series
    values = np.asarray(known, dtype=np.float64)
    if values.shape != (len(trajectory),):
        raise ShapeError(f"Expected one value for each of {len(trajectory)} frames; got shape {values.shape}.")
    if trajectory.groups is not None and (chains := len(np.unique(trajectory.groups))) > 1:
        raise DataError(
            f"Expected frames of one trajectory; got frames of {chains} groups: decorrelate each group "
            "`ensemble[ensemble.groups == k]` by itself."
        )
    g = statistical_inefficiency(values)
    kept = np.asarray(load_pymbar().timeseries.subsample_correlated_data(values, g=g))
    # Selected by time, not by weight: the mean weight does not change.
    return trajectory.replace(frames=kept, groups=None, absolute=trajectory.absolute)
