"""The generator's density evaluated on the frames of a reference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from boltzflow.analysis.checks.collapse import (
    UNDERSAMPLED,
    check_own_temperature,
    coverage_verdict,
    expected_undersampled,
    fraction_found,
)
from boltzflow.analysis.checks.references import Reference, as_reference
from boltzflow.analysis.weighting.reweighting import log_weights_of
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.energies.potential import energies_of_frames
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError
from boltzflow.estimate import Estimate
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import thermal_energy
from boltzflow.verdict import Verdict

_AT_MOST = 10_000  # frames
_SAME = 1.0  # kJ/mol


@dataclass(frozen=True)
class ForwardCheck:
    """Importance sampling judged by reference frames, which also reveal regions that the generator never samples.

    Attributes:
        nll: −⟨log q⟩ over the frames inside the generator's domain, nats, in the Cartesian measure (nm) with rigid
            motion integrated out.
        kl: KL(p ‖ q) = ⟨log p̃ − log q⟩ − log Z over the same frames, nats; its error includes that of log Z.
        ess: effective sample size of importance sampling according to these frames, as a fraction: 1/⟨w⟩ with weights
            of mean 1; zero if a frame lies outside the domain.
        thin: undersampled fraction of the reference: frames with more than `UNDERSAMPLED` times the mean weight, or
            outside the domain.
        outside: fraction outside the domain alone.
        frames: number of reference frames used.
        verdict: whether the generator covers the reference.
    """

    nll: Estimate
    kl: Estimate
    ess: float
    thin: Estimate
    outside: Estimate
    frames: int
    verdict: Verdict

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        named = {name: value._asdict() for name, value in vars(self).items() if isinstance(value, Estimate)}
        return asdict(self) | named | {"verdict": str(self.verdict)}


def check_forward(generator: BoltzmannGenerator, ensemble: Ensemble, reference: Reference) -> ForwardCheck | None:
    """Evaluate the generator's density on the frames of a reference, at the ensemble's temperature.

    Equivalent atoms are first relabelled as in the generator's domain. Returns None if the reference holds only
    torsions.

    Args:
        generator: with a density, at its own temperature.
        ensemble: its samples, for log Z and the effective sample size to compare with.
        reference: at most 10 000 of its frames are used, evenly spaced; errors come from its independent blocks.

    Raises:
        DataError: if the samples or the reference are not at the generator's own temperature, or the reference's
            energies are those of another force field, or none of them is finite.
        NonFiniteError: if no frame of the reference has a positive weight.
        IntractableDensityError: if the generator has stochastic layers.
    """
    check_own_temperature(generator, ensemble)
    frames = as_reference(reference, generator.temperature).ensemble
    if frames is None:
        return None
    possible = np.flatnonzero(frames.weights > 0)  # failed frames do not belong to the equilibrium distribution
    chosen = possible[np.unique(np.linspace(0, len(possible) - 1, _AT_MOST).round().astype(np.int64))]
    positions = torch.from_numpy(frames.positions[chosen])
    energies = energies_of_frames(generator.potential, positions.numpy(), like=generator.like)
    if reference.has_energies:
        _check_same_energies(frames.energies[chosen], energies)
    folded = generator.fold(positions)
    log_ratio = log_weights_of(generator, folded.numpy()) - ensemble.log_z.value  # weights of mean 1 over the samples
    inside = np.isfinite(log_ratio)
    log_q = -energies / thermal_energy(ensemble.temperature) - ensemble.log_z.value - log_ratio
    logs, blocks = frames.log_weights[chosen], reference.pieces[chosen]
    thin = fraction_found(log_ratio > math.log(UNDERSAMPLED), logs, blocks)
    outside = fraction_found(~inside, logs, blocks)
    within = np.where(inside, logs, -np.inf)
    weights = importance.normalized_weights(torch.from_numpy(logs)).numpy()
    ess = 1 / float(weights @ np.exp(log_ratio)) if inside.all() else 0.0
    kl = _mean(log_ratio, within, blocks)
    return ForwardCheck(
        nll=_mean(-log_q, within, blocks),
        kl=Estimate(kl.value, float(np.hypot(kl.error, ensemble.log_z.error))),
        ess=ess,
        thin=thin,
        outside=outside,
        frames=len(chosen),
        verdict=coverage_verdict(thin, outside, expected_undersampled(ensemble), ess, ensemble.ess, "the reference"),
    )


def _check_same_energies(stated: Array, found: Array) -> None:
    """Raise unless the two differ by a constant alone, as they do for one force field."""
    both = np.isfinite(stated) & np.isfinite(found)
    if not both.any():
        raise DataError("Expected a reference of the generator's force field; no frame has a finite energy.")
    apart = stated[both] - found[both]
    off = float(np.abs(apart - np.median(apart)).max())
    if off > _SAME:
        raise DataError(
            f"Expected a reference of the generator's force field; its energies differ by up to {off:.3g} kJ/mol."
        )


def _mean(values: NDArray[Any], log_weights: Array, blocks: NDArray[np.int64]) -> Estimate:
    """The weighted mean, with its error from the scatter between independent blocks."""
    if np.isneginf(log_weights).all():
        return Estimate(math.nan, math.nan)
    value, error = importance.weighted_mean(*(torch.from_numpy(array) for array in (values, log_weights, blocks)))
    return Estimate(value.item(), error.item())
