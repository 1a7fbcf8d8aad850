"""What z-scores must look like if estimates and their stated errors are both right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2


def check_z_scores(z: ArrayLike, chance: float = 1e-3) -> None:
    """None beyond 4, and a sum of squares inside the two-sided interval of χ² that misses honest ones by `chance`.

    z: (20 or more,) independent scores.
    """
    z = np.asarray(z)
    assert z.ndim == 1
    assert len(z) >= 20
    assert np.abs(z).max() < 4.0, z
    low, high = chi2.ppf([chance / 2, 1 - chance / 2], len(z))
    assert low < (z**2).sum() < high, f"mean square {np.mean(z**2):.2f} of {len(z)} z-scores"
