"""Copies of frames, marked as groups, change no error: with them nothing new is known."""

from __future__ import annotations

import numpy as np
import pytest

from boltzflow.analysis import (
    Axis,
    circular_mean,
    free_energy_profile,
    free_energy_surface,
    histogram,
    kernel_density,
    population_of,
    state_populations,
)

RANDOM = np.random.default_rng(0)
ANGLE, LOGS = RANDOM.normal(0.0, 0.5, 300), RANDOM.normal(size=300)

ERRORS = {
    "population": lambda x, w, g: population_of(x > 0.2, w, 300.0, g).error,
    "states": lambda x, w, g: state_populations({"a": x < 0, "b": x > 0.3}, w, 300.0, g).covariance,
    "profile": lambda x, w, g: free_energy_profile(x, w, 300.0, 12, groups=g).errors,
    "surface": lambda x, w, g: free_energy_surface(x, -x, w, 300.0, 6, groups=g).errors,
    "histogram": lambda x, w, g: histogram(x, w, Axis(-1.0, 1.0, 5), g).errors,
    "kernel density": lambda x, w, g: kernel_density(x, w, Axis(-1.0, 1.0, 5), 0.2, g).errors,
    "circular mean": lambda x, w, g: circular_mean(x, w, g).error,
}


@pytest.mark.parametrize("name", ERRORS)
def test_copies_in_groups_leave_errors_as_they_are(name):
    groups = np.repeat(np.arange(300), 4)
    alone = ERRORS[name](ANGLE, LOGS, None)
    copied = ERRORS[name](np.repeat(ANGLE, 4), np.repeat(LOGS, 4), groups)
    np.testing.assert_allclose(copied, alone, rtol=1e-9)
    if name != "kernel density":  # the bias, a part of its errors, does not fall with the number of frames
        ratio = ERRORS[name](np.repeat(ANGLE, 4), np.repeat(LOGS, 4), None) / alone
        assert np.nanmean(ratio) == pytest.approx(0.25 if name == "states" else 0.5, rel=0.15)
