"""Pareto-smoothed importance sampling."""

from __future__ import annotations

import numpy as np
import torch

from boltzflow.core.pareto import smoothed
from boltzflow.ensemble import Ensemble
from boltzflow.errors import InsufficientDataError


def smooth(ensemble: Ensemble) -> Ensemble:
    """The ensemble with its largest weights replaced by quantiles of the generalised Pareto distribution that fits.

    Pareto-smoothed importance sampling (Vehtari et al. 2024, arXiv 1507.02646). No weight exceeds the
    largest one before. Averages have less variance and a small bias, and are of use up to a tail's shape k̂ of 0.7;
    beyond it smoothing hides what is wrong: ask `diagnose`, of the ensemble before it. The other weights stay what
    they are, so log Z is that of the smoothed weights, and each average is theirs.

    Raises:
        InsufficientDataError: if fewer than 25 weights are positive, too few to fit their tail.

    >>> from boltzflow.ensemble import Ensemble
    >>> tail = -0.6 * np.log(np.random.default_rng(0).uniform(size=2000))
    >>> ensemble = Ensemble(np.zeros((2000, 1, 3)), np.zeros(2000), 300.0, log_weights=tail)
    >>> smooth(ensemble).largest_weight < ensemble.largest_weight
    True
    """
    positive = np.isfinite(ensemble.log_weights)
    if np.isnan(ensemble.pareto_k):
        raise InsufficientDataError(f"Expected at least 25 positive weights to fit their tail; got {positive.sum()}.")
    if np.isneginf(ensemble.pareto_k):  # the largest are all equal: there is nothing to smooth
        return ensemble
    log_weights = ensemble.log_weights.copy()
    log_weights[positive] = smoothed(torch.from_numpy(log_weights[positive])).numpy()
    # log q stays, unlike that of any other log-weights: these have the constant that they had, if any.
    return ensemble.replace(log_weights=log_weights, log_q=ensemble.log_q, absolute=ensemble.absolute)
