"""Comparison of samples with a reference: surfaces, marginals and energies, each with its finite-sample noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import ArrayLike

from boltzflow.analysis.checks.binned import Bootstrap, Shares
from boltzflow.analysis.checks.distances import jensen_shannon, kl_divergence, total_variation, wasserstein
from boltzflow.analysis.checks.references import FEWEST_BLOCKS, Reference, as_reference, check_same_molecule
from boltzflow.analysis.estimates.basins import POSITIVE_PHI
from boltzflow.analysis.estimates.internals import ENERGY, Observable, internal_observables
from boltzflow.analysis.estimates.populations import Mask
from boltzflow.analysis.estimates.torsion_states import torsion_states
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, InsufficientDataError, OptionError
from boltzflow.estimate import Estimate
from boltzflow.molecules import NamedTorsion, rotatable_torsions
from boltzflow.verdict import Trust, Verdict

Measure = Callable[[Array, Array], float]

TOTAL_VARIATION, KL, JENSEN_SHANNON = "total variation", "KL(reference ‖ samples)", "Jensen–Shannon"
WASSERSTEIN = "Wasserstein"

_MEASURES: tuple[tuple[str, str, Measure], ...] = (
    (TOTAL_VARIATION, "", total_variation),
    (JENSEN_SHANNON, "nats", jensen_shannon),
)
_SURFACE_BINS = 36  # if a reference has no histograms of its own
_CIRCLE_BINS, _LINE_BINS = 72, 99
_LEAST_SPAN = 1e-3  # nm, rad, kJ/mol: a constrained coordinate has one value
_AT_ONCE = 64  # observables

_CHANCE = 0.01  # probability that noise alone causes such a difference anywhere
_FEWEST_REPLICATES = round(2 / _CHANCE)  # with fewer, no p-value is that small
_FEW_BLOCKS = 10
_NO_NOISE = 1e-9  # of a distance's width: rounding
_SIGMAS, _BEYOND = 4.0, 3.0
_SMALL, _LARGE = 0.01, 0.05  # of a distance's width
_BLURRED = 0.1


@dataclass(frozen=True)
class Distance:
    """The distance between samples and reference in one observable, and the distance that noise alone would cause.

    Attributes:
        observable: what is compared.
        measure: total variation, KL or Jensen–Shannon of a Ramachandran surface; Wasserstein of a marginal.
        unit: of the numbers; empty if they have none.
        value: the distance.
        floor: its mean for two finite samples of this size from one distribution.
        noise: the standard deviation about this mean.
        width: the scale of the distance: 1 for surfaces; for a marginal the Wasserstein distance of the reference from
            the single value nearest to it.
        missing: fraction of the reference in bins where the samples are empty, which KL leaves out (see
            `kl_divergence`). KL is therefore listed but not tested; Jensen–Shannon includes all bins.
    """

    observable: str
    measure: str
    unit: str
    value: float
    floor: float
    noise: float
    width: float = 1.0
    missing: float = 0.0

    @property
    def excess(self) -> float:
        """The distance above its floor, as a fraction of the width: an estimate of the real difference."""
        return max(0.0, self.value - self.floor) / self.width

    @property
    def sigmas(self) -> float:
        """The distance above its floor in standard deviations of the noise; infinite if there is no noise."""
        above, least = self.value - self.floor, _NO_NOISE * self.width
        if self.noise > least:
            return above / self.noise
        return math.inf if above > least else 0.0


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of samples and reference over the same bins, with standard errors.

    Attributes:
        observable: the observable; for a surface its φ.
        edges: of the bins; for a surface those along both axes.
        samples, reference: fractions (bins,); for a surface (bins, bins).
        samples_errors, reference_errors: their standard errors.
    """

    observable: Observable
    edges: Array
    samples: Array
    samples_errors: Array
    reference: Array
    reference_errors: Array


@dataclass(frozen=True)
class Basin:
    """The population of a region in samples and reference.

    Attributes:
        samples, reference: populations with their errors; where no frame or every frame is inside, the error is the
            weight of one effective frame, or of one independent block of the reference.
        sigmas: the difference in standard errors. The error of the samples is at least the binomial error of their
            effective number of frames at the reference's population, since the error of a rare region with few samples
            is otherwise too small. If the reference has no frame in the region, or none outside it, its error is
            binomial in its number of independent blocks.
    """

    samples: Estimate
    reference: Estimate
    sigmas: float

    @property
    def document(self) -> dict[str, Any]:
        """Its numbers, JSON-able."""
        return {"samples": self.samples._asdict(), "reference": self.reference._asdict(), "sigmas": self.sigmas}


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`.

    Attributes:
        distances: three for the Ramachandran surface of each residue, then one for each marginal.
        basins: populations of 0 < φ < 2.2 rad, by residue.
        populations: the same by the name of the region, and those of the states of all other torsions that both know,
            such as "chi1 VAL2 trans". States without a convention are those of both densities together, see
            `torsion_states`.
        p_value: the probability that noise alone makes the largest of all deviations as large. Bootstrap replicates are
            drawn for all observables together, so their number and correlations are accounted for (Westfall & Young
            1993).
        frames: number of samples.
        reference_frames: number of frames of the reference.
        reference_pieces: number of independent blocks of the reference, from which its errors are estimated.
        surfaces: histograms over φ and ψ, by residue.
        marginals: histograms in the order of their distances.
        verdict: whether samples and reference agree.
    """

    distances: tuple[Distance, ...]
    basins: Mapping[str, Basin]
    populations: Mapping[str, Basin]
    p_value: float
    frames: int
    reference_frames: int
    reference_pieces: int
    surfaces: Mapping[str, Histograms]
    marginals: tuple[Histograms, ...]
    verdict: Verdict

    def of(self, observable: str, measure: str = WASSERSTEIN) -> Distance:
        """The distance of an observable, such as "phi ALA2", or "ALA2" for a surface."""
        return next(d for d in self.distances if (d.observable, d.measure) == (observable, measure))

    @property
    def beyond(self) -> int:
        """The number of populations that differ by more than three standard errors; by chance 3 in 1000 do."""
        return sum(abs(basin.sigmas) > _BEYOND for basin in self.populations.values())

    def document(self) -> dict[str, Any]:
        """The numbers without the histograms, JSON-able."""
        return {
            "verdict": str(self.verdict),
            "p_value": self.p_value,
            "frames": self.frames,
            "reference_frames": self.reference_frames,
            "reference_pieces": self.reference_pieces,
            "basins": {residue: basin.document for residue, basin in self.basins.items()},
            "populations": {name: basin.document for name, basin in self.populations.items()},
            "populations_beyond_3_sigmas": self.beyond,
            "distances": [asdict(distance) for distance in self.distances],
        }


def compare(
    ensemble: Ensemble,
    reference: Reference | Ensemble | mdtraj.Trajectory | str | Path,
    *,
    pieces: ArrayLike | None = None,
    replicates: int = 200,
    seed: int = 0,
) -> Comparison:
    """Compare weighted samples with a reference: Ramachandran surfaces, every bond, angle and torsion, the energy.

    Populations of the states of all torsions are listed side by side, with their difference in standard errors.

    Two finite samples of one distribution differ too, so each distance has a noise floor. It comes from a bootstrap
    over independent blocks: groups of the samples, ladders of the reference, or segments longer than its correlation
    time. If a reference has φ/ψ histograms from all temperatures, their noise is scaled to their stated errors. Samples
    and reference need at least four blocks each; the verdict "trust" needs ten.

    Args:
        ensemble: a generator's samples, or any weighted frames, with a topology.
        reference: see `as_reference`.
        pieces: labels of independent blocks of the reference, see `as_reference`.
        replicates: of the bootstrap, at least 200: the p-value is no smaller than 1/(1 + replicates).
        seed: of the bootstrap.

    Raises:
        ShapeError: if the frames are of another molecule.
        DataError: if the temperatures differ, or there is no topology.
        InsufficientDataError: if there are too few independent blocks.
        OptionError: if there are too few replicates.
        NonFiniteError: if no weight is positive.
        SystemNotFoundError: if a directory holds no reference.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> frames = system.positions + np.random.default_rng(0).normal(scale=1e-3, size=(200, 22, 3))
    >>> two = [Ensemble(x, np.zeros(100), 300.0, topology=system.mdtraj_topology) for x in (frames[:100], frames[100:])]
    >>> compare(*two).verdict.trust.name
    'WITH_CARE'
    """
    if replicates < _FEWEST_REPLICATES:
        raise OptionError(f"Expected at least {_FEWEST_REPLICATES} replicates for a p-value; got {replicates}.")
    truth = as_reference(reference, ensemble.temperature, pieces)
    used = ensemble[ensemble.weights > 0]
    if used.topology is None:
        raise DataError("Expected samples with a topology; these have none.")
    check_same_molecule(used.topology, truth)
    sampled = as_reference(used, used.temperature)
    fewest = min(sampled.n_pieces, truth.n_pieces)
    if fewest < FEWEST_BLOCKS:
        raise InsufficientDataError(
            f"Expected at least {FEWEST_BLOCKS} independent blocks (groups, ladders, or segments of a trajectory) of "
            f"samples and reference; got {sampled.n_pieces} of the samples and {truth.n_pieces} of the reference."
        )
    both = (sampled, truth)
    candidates = (ENERGY, *internal_observables(used.topology))
    known = [observable for observable in candidates if all(side.holds(observable) for side in both)]
    random = np.random.default_rng(seed)
    ours, theirs = (Bootstrap(source, replicates, random) for source in both)

    found: list[_Difference] = []
    surfaces, basins = {}, {}
    for phi, psi in _backbone(known):
        residue = phi.name.split()[-1]
        x, y = sampled.values([phi, psi]), truth.values([phi, psi])
        surfaces[residue], differences = _surface(phi, residue, x, y, ours, theirs, truth, random)
        low, high = POSITIVE_PHI
        inside = [(angles[:, 0] > low) & (angles[:, 0] < high) for angles in (x, y)]
        basins[residue] = _basin(inside[0], inside[1], ours, theirs, sampled.effective_frames, truth.n_pieces)
        found += differences
    marginals = []
    for start in range(0, len(known), _AT_ONCE):
        some = known[start : start + _AT_ONCE]
        for observable, x, y in zip(some, sampled.values(some).T, truth.values(some).T, strict=True):
            marginal, difference = _marginal(observable, x, y, ours, theirs)
            marginals.append(marginal)
            found.append(difference)

    low, high = POSITIVE_PHI
    populations = {f"{low:g} < phi {residue} < {high:g} rad": basin for residue, basin in basins.items()}
    for torsion, observable in _rotatable(used.topology, known):
        x, y = (side.values([observable])[:, 0] for side in both)
        weights = np.concatenate([side.weights for side in both])
        arcs = torsion_states(torsion, np.concatenate([x, y]), weights)
        mine, right = arcs.labels(x), arcs.labels(y)
        for state, name in enumerate(arcs.names):
            populations[f"{torsion.name} {name}"] = _basin(
                mine == state, right == state, ours, theirs, sampled.effective_frames, truth.n_pieces
            )

    distances = tuple(difference.distance for difference in found)
    tested = [difference for difference in found if difference.distance.measure != KL]
    by_chance = np.max([difference.sigmas for difference in tested], 0)
    largest = max(difference.distance.sigmas for difference in tested)
    p_value = (1 + int((by_chance >= largest).sum())) / (1 + replicates)
    return Comparison(
        distances=distances,
        basins=basins,
        populations=populations,
        p_value=p_value,
        frames=len(ensemble),
        reference_frames=len(truth),
        reference_pieces=truth.n_pieces,
        surfaces=surfaces,
        marginals=tuple(marginals),
        verdict=_verdict(distances, basins, p_value, fewest),
    )


@dataclass(frozen=True, eq=False)
class _Difference:
    """A distance, and the noise replicates (replicates,) in standard deviations from their mean."""

    distance: Distance
    sigmas: Array


def _difference(
    names: tuple[str, str, str], measure: Measure, reference: Shares, samples: Shares, width: float = 1.0
) -> _Difference:
    """`measure` between reference and samples, and between noisy copies of their mean."""
    noise = _noise(measure, reference, samples)
    floor, spread = float(noise.mean()), float(noise.std())
    distance = Distance(*names, measure(reference.values, samples.values), floor, spread, width)
    return _Difference(distance, (noise - floor) / spread if spread > _NO_NOISE * width else np.zeros_like(noise))


def _noise(measure: Measure, reference: Shares, samples: Shares) -> Array:
    """`measure` between noisy copies of the mean histogram (replicates,)."""
    middle = (reference.values + samples.values) / 2
    copies = ((middle + side.noise).clip(min=0.0) for side in (reference, samples))
    return np.array([measure(p, q) for p, q in zip(*copies, strict=True)])


def _kl(residue: str, reference: Shares, samples: Shares) -> _Difference:
    """KL with its noise, from copies that share a bin; it is never tested, since it leaves bins out."""
    value, missing = kl_divergence(reference.values, samples.values)
    noise = _noise(lambda p, q: kl_divergence(p, q)[0], reference, samples)
    finite = noise[np.isfinite(noise)]
    floor, spread = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 0.0)
    return _Difference(
        Distance(residue, KL, "nats", value, floor, spread, missing=missing), np.full_like(noise, -np.inf)
    )


def _surface(
    phi: Observable,
    residue: str,
    x: Array,
    y: Array,
    ours: Bootstrap,
    theirs: Bootstrap,
    truth: Reference,
    random: np.random.Generator,
) -> tuple[Histograms, list[_Difference]]:
    """x, y: φ and ψ of samples and reference, (n, 2)."""
    known = (truth.surfaces or {}).get(residue)
    bins = _SURFACE_BINS if known is None else len(known.shares)
    cells = [np.floor((angles + np.pi) * (bins / (2 * np.pi))).astype(np.int64) % bins for angles in (x, y)]
    samples, reference = (
        side.shares(cell[:, 0] * bins + cell[:, 1], bins**2) for side, cell in zip((ours, theirs), cells, strict=True)
    )
    reference = reference if known is None else reference.rescaled(known)
    middle = (reference.values + samples.values) / 2
    reference, samples = (side.with_unseen(middle, random) for side in (reference, samples))
    found = [_difference((residue, name, unit), measure, reference, samples) for name, unit, measure in _MEASURES]
    found.append(_kl(residue, reference, samples))
    parts = (samples.values, samples.errors, reference.values, reference.errors)
    edges = np.linspace(-np.pi, np.pi, bins + 1)
    return Histograms(phi, edges, *(part.reshape(bins, bins) for part in parts)), found


def _marginal(
    observable: Observable, x: Array, y: Array, ours: Bootstrap, theirs: Bootstrap
) -> tuple[Histograms, _Difference]:
    circular = observable.kind == "torsion"
    if circular:
        bins, low, high = _CIRCLE_BINS, -np.pi, np.pi
    else:
        typical = np.concatenate([x[ours.typical], y[theirs.typical]])
        bins, low, high = _LINE_BINS, float(typical.min()), float(typical.max())
        missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
        low, high = low - missing, high + missing
    width = (high - low) / bins
    places = (np.floor((values - low) / width).clip(0, bins - 1).astype(np.int64) for values in (x, y))
    samples, reference = (side.shares(place, bins) for side, place in zip((ours, theirs), places, strict=True))
    spread = min(wasserstein(reference.values, point, width, circular=circular) for point in np.eye(bins))

    def measure(p: Array, q: Array) -> float:
        return wasserstein(p, q, width, circular=circular)

    names = (observable.name, WASSERSTEIN, observable.unit)
    difference = _difference(names, measure, reference, samples, max(spread, width))
    parts = (samples.values, samples.errors, reference.values, reference.errors)
    return Histograms(observable, np.linspace(low, high, bins + 1), *parts), difference


def _basin(x: Mask, y: Mask, ours: Bootstrap, theirs: Bootstrap, frames: float, blocks: int) -> Basin:
    """The population of a region; x, y: whether each frame of samples and reference lies inside."""
    found = []
    for mask, side in ((x, ours), (y, theirs)):
        inside = side.shares(mask.astype(np.int64), 2)
        # Exactly 1 if all frames are inside, whatever the rounding of their sum.
        value = 1.0 if mask.all() else float(inside.values[1])
        found.append(Estimate(value, float(inside.errors[1])))
    samples, reference = found
    if 0 < reference.value < 1:
        errors = max(samples.error, _binomial(reference.value, frames)), reference.error
    else:
        errors = samples.error, _binomial(samples.value, blocks)
    error = float(np.hypot(*errors)) or _binomial((samples.value + reference.value) / 2, blocks)
    sigmas = (samples.value - reference.value) / error if error > 0 else 0.0
    return Basin(_resolved(samples, frames), _resolved(reference, blocks), sigmas)


def _resolved(found: Estimate, n: float) -> Estimate:
    """The same; the error of 0 and of 1 is the weight of one of n frames, since there is no scatter."""
    return found if 0.0 < found.value < 1.0 else Estimate(found.value, 1 / n)


def _binomial(share: float, n: float) -> float:
    return float(np.sqrt(share * (1 - share) / n))


def _backbone(observables: list[Observable]) -> list[tuple[Observable, Observable]]:
    """φ and ψ of each residue that has both."""
    by_name = {observable.name: observable for observable in observables}
    pairs = [(o, by_name.get(o.name.replace("phi ", "psi "))) for o in observables if o.name.startswith("phi ")]
    return [(phi, psi) for phi, psi in pairs if psi is not None]


def _rotatable(topology: mdtraj.Topology, known: list[Observable]) -> list[tuple[NamedTorsion, Observable]]:
    """The rotatable torsions among the observables, except φ, whose state is a basin."""
    by_name = {observable.name: observable for observable in known}
    torsions = (torsion for torsion in rotatable_torsions(topology) if torsion.kind != "phi")
    return [(torsion, by_name[torsion.name]) for torsion in torsions if torsion.name in by_name]


def _verdict(distances: tuple[Distance, ...], basins: Mapping[str, Basin], p_value: float, blocks: int) -> Verdict:
    """Trust samples that agree within the noise, if the noise is small enough."""
    sizes = [d for d in distances if d.measure in (TOTAL_VARIATION, WASSERSTEIN)]  # comparable: fractions of a width
    farthest = max(sizes, key=lambda d: d.excess)
    off = [(residue, basin) for residue, basin in basins.items() if abs(basin.sigmas) > _SIGMAS]
    blurred = max(sizes, key=lambda d: d.floor / d.width)
    if off:
        residue, basin = max(off, key=lambda pair: abs(pair[1].sigmas))
        ours, right = basin.samples, basin.reference
        low, high = POSITIVE_PHI
        reason = (
            f"the population of {low:g} < φ < {high:g} rad of {residue} is {ours.value:.5f} ± {ours.error:.5f}; in the "
            f"reference it is {right.value:.5f} ± {right.error:.5f}"
        )
        return Verdict(Trust.WITH_CARE if right.value / 2 < ours.value < right.value * 2 else Trust.DO_NOT_USE, reason)
    if p_value < _CHANCE and farthest.excess > _SMALL:
        trust = Trust.DO_NOT_USE if farthest.excess > _LARGE else Trust.WITH_CARE
        most = max((d for d in distances if d.measure != KL), key=lambda d: d.sigmas)
        return Verdict(
            trust,
            f"the samples differ from the reference beyond the noise: most strongly in {farthest.observable}, by "
            f"{farthest.excess:.1%} ({farthest.measure}), and most significantly in {most.observable} "
            f"(p = {p_value:.2g})",
        )
    if blurred.floor / blurred.width > _BLURRED:
        return Verdict(
            Trust.WITH_CARE,
            f"there are too few frames to tell: the noise alone is {blurred.floor / blurred.width:.0%} in "
            f"{blurred.observable} ({blurred.measure})",
        )
    if blocks < _FEW_BLOCKS:
        return Verdict(
            Trust.WITH_CARE, f"no difference exceeds the noise, but its estimate uses only {blocks} independent blocks"
        )
    if farthest.excess > _LARGE:
        return Verdict(
            Trust.WITH_CARE,
            f"{farthest.observable} is {farthest.excess:.1%} above its noise ({farthest.measure}), which may be chance "
            f"with so few frames (p = {p_value:.2g})",
        )
    return Verdict(
        Trust.TRUST,
        f"the samples agree with the reference: no distance is more than {farthest.excess:.1%} above its noise "
        f"(p = {p_value:.2g})",
    )
