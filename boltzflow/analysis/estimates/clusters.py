"""Representative structures, each with the equilibrium population of its cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import ArrayLike, NDArray

from boltzflow.analysis.estimates.populations import States, state_populations
from boltzflow.analysis.estimates.projections import torsion_features
from boltzflow.ensemble import Ensemble
from boltzflow.errors import InsufficientDataError, OptionError, ShapeError


@dataclass(frozen=True)
class Clusters:
    """Clusters of samples, the most populated first.

    Attributes:
        representatives: one frame for each cluster, the nearest to its centre.
        frames: (k,) int, indices of these frames in the ensemble.
        labels: (n,) int, the cluster of each frame; −1 for frames of weight zero.
        states: populations of the clusters, and free energies between them. Errors treat the clusters as fixed.
    """

    representatives: Ensemble
    frames: NDArray[np.int64]
    labels: NDArray[np.int64]
    states: States


def representatives(
    ensemble: Ensemble,
    clusters: int,
    features: Callable[[mdtraj.Trajectory], ArrayLike] = torsion_features,
    seed: int = 0,
) -> Clusters:
    """Cluster weighted samples by k-means (scikit-learn); each frame counts by its weight.

    Args:
        ensemble: with a topology.
        clusters: number of clusters.
        features: function of a trajectory that returns features (n, k) with a meaningful Euclidean distance; by default
            `torsion_features`: cosines and sines of all torsions.
        seed: of the initial centres.

    Raises:
        OptionError: if there are fewer frames of positive weight than clusters.
        InsufficientDataError: if fewer structures than clusters differ in their features.
        ShapeError: if features are not (n, k).
        NonFiniteError: if no weight is positive, or a feature is not finite.
    """
    from sklearn.cluster import KMeans  # a slow import (a second), so only where it is needed

    used = np.flatnonzero(ensemble.weights > 0)
    if not 1 <= clusters <= len(used):
        raise OptionError(
            f"Expected 1 to {len(used)} clusters, the number of frames of positive weight; got {clusters}."
        )
    points = ensemble.values(features)[used].astype(np.float64)
    if points.ndim != 2:
        raise ShapeError(f"Expected features (n, k) with one row for each of {len(used)} frames; got {points.shape}.")
    if len(np.unique(points, axis=0)) < clusters:
        raise InsufficientDataError(
            f"Expected at least {clusters} structures that differ in their features; got fewer."
        )
    weights = ensemble.weights[used]
    fit = KMeans(clusters, n_init=10, random_state=seed).fit(points, sample_weight=weights * len(used))
    order = np.argsort(-np.bincount(fit.labels_, weights, minlength=clusters))
    labels = np.full(len(ensemble), -1)
    labels[used] = np.argsort(order)[fit.labels_]
    distances = np.square(points - fit.cluster_centers_[fit.labels_]).sum(1)
    members = [np.flatnonzero(fit.labels_ == cluster) for cluster in order]
    frames = used[[m[distances[m].argmin()] for m in members]]
    states = {f"cluster {k + 1}": labels == k for k in range(clusters)}
    found = state_populations(ensemble, states)
    return Clusters(ensemble[frames], frames, labels, found)
