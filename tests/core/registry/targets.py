"""Targets in the plane and above whose normalisation and samples are known, though they are not normalised."""

from __future__ import annotations

from collections.abc import Callable

from boltzflow.core.distributions import targets

TARGETS: dict[str, Callable[[], targets.ExactTarget]] = {
    "two moons": targets.TwoMoons,
    "wider moons": lambda: targets.TwoMoons(radius=1.5, scale=0.08),
    "rings": targets.RingMixture,
    "four rings": lambda: targets.RingMixture(4),
    "sine wave": targets.Sinusoidal,
    "sine wave with a gap": lambda: targets.Sinusoidal(branch="gap"),
    "sine wave, split": lambda: targets.Sinusoidal(branch="split"),
    "smiley": targets.Smiley,
    "double well": targets.DoubleWell,
    "even double well": lambda: targets.DoubleWell(linear=0.0, quadratic=-4.0, quartic=1.0, stiffness=2.0),
    "Müller–Brown": targets.MullerBrown,
    "hot Müller–Brown": lambda: targets.MullerBrown(beta=0.03),
}
