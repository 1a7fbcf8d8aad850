"""Projections onto a few coordinates that hold most of the variance."""

from __future__ import annotations

from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import ArrayLike

from boltzflow.analysis.estimates.observables import backbone_torsions
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble, Observable
from boltzflow.errors import OptionError, ShapeError, TopologyError


@dataclass(frozen=True)
class Projection:
    """Principal components of weighted samples.

    Attributes:
        mean: (k,) of the features.
        components: (dimensions, k), orthonormal, by falling variance; the largest entry of each is positive.
        variances: (dimensions,), along them.
        total_variance: of all features.
    """

    mean: Array
    components: Array
    variances: Array
    total_variance: float

    def __call__(self, features: ArrayLike) -> Array:
        """Features (n, k) of these or other samples → coordinates (n, dimensions)."""
        coordinates: Array = (np.asarray(features, np.float64) - self.mean) @ self.components.T
        return coordinates


def torsion_features(trajectory: mdtraj.Trajectory) -> Array:
    """Cosines and sines of φ and ψ of every residue: (n, 2 · torsions), without a seam (Mu et al. 2005).

    Raises:
        TopologyError: if there is none; make features of `mdtraj.compute_dihedrals` instead.
    """
    torsions = backbone_torsions(trajectory)
    if not torsions:
        raise TopologyError("Expected a peptide with φ and ψ; got a molecule without. Give features of your own.")
    angles = np.stack([torsion.values for torsion in torsions], 1)
    return np.hstack([np.cos(angles), np.sin(angles)])


def principal_components(ensemble: Ensemble, features: Observable, dimensions: int = 2) -> Projection:
    """Principal component analysis of the Boltzmann distribution: eigenvectors of the weighted covariance.

    With `torsion_features` this is dihedral PCA (Mu, Nguyen & Stock 2005, DOI 10.1002/prot.20310; Altis et al. 2007).
    It finds the directions of large variance. Those that are slow need samples that follow each other in time, which a
    generator's do not.

    Args:
        ensemble: n frames, with their weights.
        features: (n, k), or a function of the trajectory that gives them, such as `torsion_features`.
        dimensions: how many components.

    Raises:
        ShapeError: if there is not one row of features for each frame.
        OptionError: if there are fewer features than dimensions.
        NonFiniteError: if no weight is positive, or a feature is not finite where one is.

    >>> x = np.random.default_rng(0).normal(size=(1000, 2)) * [3.0, 1.0]
    >>> ensemble = Ensemble(np.zeros((1000, 1, 3)), np.zeros(1000), 300.0)
    >>> principal_components(ensemble, x, dimensions=1).components.round(1) + 0.0
    array([[1., 0.]])
    """
    used, values = ensemble.weights > 0, ensemble.values(features).astype(np.float64)
    if values.ndim != 2:
        raise ShapeError(f"Expected features (n, k) with one row for each of {len(used)} frames; got {values.shape}.")
    if not 1 <= dimensions <= values.shape[1]:
        raise OptionError(f"Expected 1 to {values.shape[1]} dimensions, as there are features; got {dimensions}.")
    values, weights = values[used], ensemble.weights[used]
    mean = weights @ values
    variances, vectors = np.linalg.eigh(np.cov(values.T, aweights=weights, ddof=0).reshape(values.shape[1], -1))
    components = vectors.T[::-1][:dimensions]
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
    return Projection(mean, components * np.sign(largest), variances[::-1][:dimensions], float(variances.sum()))
