"""Projections onto a few coordinates with most of the variance."""

from __future__ import annotations

from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import ArrayLike

from boltzflow.analysis.estimates.observables import torsion_angles
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import OptionError, ShapeError, TopologyError
from boltzflow.molecules import named_torsions


@dataclass(frozen=True)
class Projection:
    """Principal components of weighted samples.

    Attributes:
        mean: (k,), mean of the features.
        components: (dimensions, k), orthonormal, in order of decreasing variance; the largest entry of each is
            positive.
        variances: (dimensions,), along the components.
        total_variance: of all features.
    """

    mean: Array
    components: Array
    variances: Array
    total_variance: float

    def __call__(self, features: ArrayLike) -> Array:
        """Projects features (n, k) of these or other samples to coordinates (n, dimensions)."""
        coordinates: Array = (np.asarray(features, np.float64) - self.mean) @ self.components.T
        return coordinates


def torsion_features(trajectory: mdtraj.Trajectory) -> Array:
    """Cosines and sines of every torsion of `named_torsions`: (n, 2 · torsions), continuous across ±π (Mu et al. 2005).

    Those of a torsion with equivalent values (`NamedTorsion.folds`) are of its multiple, which is the same for them.

    Raises:
        TopologyError: if the molecule has no torsion; pass features of your own.
    """
    torsions = named_torsions(trajectory.topology)
    if not torsions:
        raise TopologyError("Expected a molecule with torsions; got one without: pass your own features.")
    angles = torsion_angles(trajectory, torsions) * [torsion.folds for torsion in torsions]
    return np.hstack([np.cos(angles), np.sin(angles)])


def principal_components(ensemble: Ensemble, features: Observable, dimensions: int = 2) -> Projection:
    """Principal component analysis of the Boltzmann distribution: eigenvectors of the weighted covariance.

    With `torsion_features` this is dihedral PCA (Mu, Nguyen & Stock 2005, DOI 10.1002/prot.20310; Altis et al. 2007).
    It finds the directions of large variance. Finding slow directions would need samples in time order, which a
    generator's samples are not.

    Args:
        ensemble: n frames, with their weights.
        features: (n, k), or a function of the trajectory that returns them, such as `torsion_features`.
        dimensions: number of components.

    Raises:
        ShapeError: if there is not one row of features for each frame.
        OptionError: if there are fewer features than dimensions.
        NonFiniteError: if no weight is positive, or a frame of positive weight has a feature that is not finite.

    >>> x = np.random.default_rng(0).normal(size=(1000, 2)) * [3.0, 1.0]
    >>> ensemble = Ensemble(np.zeros((1000, 1, 3)), np.zeros(1000), 300.0)
    >>> principal_components(ensemble, x, dimensions=1).components.round(1) + 0.0
    array([[1., 0.]])
    """
    used, values = ensemble.weights > 0, ensemble.values(features).astype(np.float64)
    if values.ndim != 2:
        raise ShapeError(f"Expected features (n, k) with one row for each of {len(used)} frames; got {values.shape}.")
    if not 1 <= dimensions <= values.shape[1]:
        raise OptionError(f"Expected 1 to {values.shape[1]} dimensions, the number of features; got {dimensions}.")
    values, weights = values[used], ensemble.weights[used]
    mean = weights @ values
    variances, vectors = np.linalg.eigh(np.cov(values.T, aweights=weights, ddof=0).reshape(values.shape[1], -1))
    components = vectors.T[::-1][:dimensions]
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
    return Projection(mean, components * np.sign(largest), variances[::-1][:dimensions], float(variances.sum()))
