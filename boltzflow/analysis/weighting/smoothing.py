"""Pareto-smoothed importance sampling."""

from __future__ import annotations

import numpy as np
import torch

from boltzflow.core.pareto import smoothed
from boltzflow.ensemble import Ensemble
from boltzflow.errors import InsufficientDataError


def smooth(ensemble: Ensemble) -> Ensemble:
    """Replace the largest weights by quantiles of a generalised Pareto distribution that is fitted to them.

    This is Pareto-smoothed importance sampling (Vehtari et al. 2024, arXiv 1507.02646). No weight exceeds the largest
    original weight. Averages have less variance and a small bias. They are useful up to a tail shape k̂ of 0.7; beyond
    it smoothing hides the problem, so call `diagnose` on the original ensemble. All other weights are unchanged; log Z
    and averages are those of the smoothed weights.

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
        raise InsufficientDataError(
            f"Expected at least 25 positive weights for a fit of their tail; got {positive.sum()}."
        )
    if np.isneginf(ensemble.pareto_k):  # the largest are all equal: there is nothing to smooth
        return ensemble
    log_weights = ensemble.log_weights.copy()
    log_weights[positive] = smoothed(torch.from_numpy(log_weights[positive])).numpy()
    # log q is kept, since smoothed weights keep their constant.
    return ensemble.replace(log_weights=log_weights, log_q=ensemble.log_q, absolute=ensemble.absolute)
