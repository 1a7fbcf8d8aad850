"""What a generator is compared with: frames of a simulation, and their division into independent blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from boltzflow.analysis.estimates.correlation import statistical_inefficiency
from boltzflow.analysis.estimates.internals import ENERGY, Observable, internal_observables, values_of
from boltzflow.analysis.estimates.observables import torsion_angles
from boltzflow.arrayfile import read_arrays
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.ensemble import TRAJECTORY, Ensemble
from boltzflow.errors import DataError, FileFormatError, ShapeError, SystemNotFoundError
from boltzflow.molecules import named_torsions
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.storage import read_json, reading

REFERENCE, TORSIONS = "reference.json", "torsions.npz"

FEWEST_BLOCKS, MOST_BLOCKS = 4, 64
_CORRELATION_TIMES = 5.0  # length of a block of a trajectory


class Surface(NamedTuple):
    """A normalised histogram over φ and ψ (bins, bins), and its standard errors."""

    shares: Array
    errors: Array


@dataclass(frozen=True, eq=False)
class Reference:
    """Weighted samples of the Boltzmann distribution that are taken as correct, with the blocks that give their errors.

    Attributes:
        log_weights: (n,) of the frames.
        pieces: (n,) index, from 0, of the independent block of each frame: a ladder of parallel tempering, or a segment
            of a trajectory that is long compared with its correlation time. Errors come from the scatter between
            blocks.
        ensemble: the frames; None if only torsions were kept.
        torsions: values (n,) in rad of torsions by their atoms, if only these were kept.
        surfaces: φ/ψ histograms by residue that use more than the frames (all temperatures of a ladder, by MBAR).
        temperature: in K.
    """

    log_weights: Array
    pieces: NDArray[np.int64]
    temperature: float
    ensemble: Ensemble | None = None
    torsions: Mapping[tuple[int, ...], Array] | None = None
    surfaces: Mapping[str, Surface] | None = None

    @property
    def has_energies(self) -> bool:
        """Whether the energies of its frames are known."""
        return self.ensemble is not None and self.ensemble.has_energies

    @property
    def n_pieces(self) -> int:
        """The number of independent blocks."""
        return int(self.pieces.max()) + 1

    @cached_property
    def weights(self) -> Array:
        """Weights (n,) of the frames that add up to 1."""
        found: Array = importance.normalized_weights(torch.from_numpy(self.log_weights)).numpy()
        return found

    @cached_property
    def effective_frames(self) -> float:
        """Kish's effective number of frames; a group of an ensemble counts as one frame.

        The correlation of frames without groups is not taken into account.
        """
        weights = self.weights
        if self.ensemble is not None and self.ensemble.groups is not None:
            weights = np.bincount(np.unique(self.ensemble.groups, return_inverse=True)[1], weights).astype(np.float64)
        return float(1 / np.square(weights).sum())

    def __len__(self) -> int:
        return len(self.log_weights)

    def holds(self, observable: Observable) -> bool:
        """Whether the observable can be computed from the frames."""
        if self.torsions is not None:
            return observable.atoms in self.torsions or observable.atoms[::-1] in self.torsions
        return self.has_energies or observable != ENERGY

    def values(self, observables: list[Observable]) -> Array:
        """Values of the observables in each frame, (n, observables)."""
        if self.torsions is not None:
            # A torsion is the same in both directions.
            known = {**self.torsions} | {atoms[::-1]: values for atoms, values in self.torsions.items()}
            return np.stack([known[observable.atoms] for observable in observables], 1)
        assert self.ensemble is not None
        values = values_of(observables, self.ensemble.to_mdtraj()).astype(np.float64)
        if ENERGY in observables:
            values[:, observables.index(ENERGY)] = self.ensemble.energies
        return values


def as_reference(
    source: Reference | Ensemble | mdtraj.Trajectory | str | Path,
    temperature: float,
    pieces: ArrayLike | None = None,
) -> Reference:
    """A reference from any of its sources.

    Args:
        source: an ensemble; a directory that `boltzflow reference` or `sample` has written, or the `reference` of one
            of the library's systems; or an unbiased mdtraj trajectory.
        temperature: in K; that of a trajectory. Any other source must have this temperature.
        pieces: (n,) integers that label independent simulations (blocks). By default they are the ladders of a
            reference, or an ensemble's groups. Other frames are taken as one simulation in time order, and are cut into
            blocks that are long compared with its correlation time.

    Raises:
        SystemNotFoundError: if a directory holds no reference.
        FileFormatError: if its files are damaged.
        DataError: if the temperature differs.
        ShapeError: if there is not one block index for each frame.
    """
    if isinstance(source, Reference):
        found = source
    elif isinstance(source, mdtraj.Trajectory):
        found = _of_frames(Ensemble.from_mdtraj(source, None, temperature=temperature))
    elif isinstance(source, Ensemble):
        found = _of_frames(source)
    else:
        found = _read(Path(source))
    if pieces is not None:
        found = replace(found, pieces=_numbered(pieces, len(found)))
    if abs(found.temperature - temperature) > 1e-3 * temperature:
        raise DataError(f"Expected a reference at {temperature:g} K; got one at {found.temperature:g} K.")
    return found


def check_same_molecule(topology: mdtraj.Topology, reference: Reference) -> None:
    """Raise unless a reference can belong to this molecule.

    Raises:
        ShapeError: if its atoms differ or are in another order, or its torsions do not occur in the molecule.
        DataError: if it has no topology.
    """
    if reference.ensemble is None:
        if not any(reference.holds(observable) for observable in internal_observables(topology)):
            raise ShapeError("Expected a reference of the same molecule; its torsions are those of another molecule.")
        return
    if reference.ensemble.topology is None:
        raise DataError("Expected a reference with a topology; this one has none.")
    check_same_atoms(topology, reference.ensemble.topology, "a reference", "the samples")


def _of_frames(ensemble: Ensemble) -> Reference:
    groups = ensemble.groups
    blocks = _segments(ensemble) if groups is None else _numbered(groups, len(ensemble))
    return Reference(ensemble.log_weights, blocks, ensemble.temperature, ensemble)


def _numbered(blocks: ArrayLike, n: int) -> NDArray[np.int64]:
    """Block labels (n,), renumbered from 0."""
    known = np.unique(np.asarray(blocks), return_inverse=True)[1].astype(np.int64)
    if known.shape != (n,):
        raise ShapeError(f"Expected one block index for each of the {n} frames; got {known.shape}.")
    return known


def _segments(ensemble: Ensemble) -> NDArray[np.int64]:
    """Block indices (n,) of frames in time order."""
    n, blocks = len(ensemble), MOST_BLOCKS
    if ensemble.log_q is None and n > 3:  # frames of a sampler with a density are independent
        series = [ensemble.energies] if ensemble.has_energies else []
        if ensemble.topology is not None:
            angles = torsion_angles(ensemble.to_mdtraj(), named_torsions(ensemble.topology))
            series += [function(angle) for angle in angles.T for function in (np.cos, np.sin)]
        slowest = max((statistical_inefficiency(values) for values in series if np.isfinite(values).all()), default=1.0)
        blocks = int(np.clip(n / (_CORRELATION_TIMES * slowest), FEWEST_BLOCKS, MOST_BLOCKS))
    return np.arange(n) * min(blocks, n) // n


def _read(folder: Path) -> Reference:
    facts = _facts(folder)
    surfaces, torsions = {}, None
    if (folder / TORSIONS).is_file():
        with reading(folder / TORSIONS, "Cannot read the reference in {}"):
            stored = read_arrays(folder / TORSIONS)
            names = stored["names"].tolist()
            for (first, _), shares, errors in zip(
                stored["pairs"].astype(int), stored["histogram_2d"], stored["histogram_2d_error"], strict=True
            ):
                surfaces[names[first].split()[-1]] = Surface(shares.astype(np.float64), errors.astype(np.float64))
            torsions = {
                tuple(four): column.astype(np.float64)
                for four, column in zip(stored["atoms"].tolist(), stored["torsions_rad"].T, strict=True)
            }
            with np.errstate(divide="ignore"):  # a weight of zero
                log_weights = np.log(stored["weights"].astype(np.float64))
            kelvin = float(stored["temperature_K"])
    if (folder / TRAJECTORY).is_file():
        found = _of_frames(Ensemble.load(folder))
        blocks = found.pieces if facts is None else _ladders(len(found), facts, folder)
        return replace(found, pieces=blocks, surfaces=surfaces)
    if torsions is None or facts is None:
        raise SystemNotFoundError(
            f"Expected a reference in {folder}: samples, or {REFERENCE} with {TORSIONS}, as written by "
            "'boltzflow reference'; found neither."
        )
    return Reference(
        log_weights, _ladders(len(log_weights), facts, folder), kelvin, torsions=torsions, surfaces=surfaces
    )


def _facts(folder: Path) -> dict[str, Any] | None:
    return read_json(folder / REFERENCE) if (folder / REFERENCE).is_file() else None


def _ladders(n: int, facts: dict[str, Any], folder: Path) -> NDArray[np.int64]:
    """The ladder of each frame: a reference holds the frames of all ladders at one time, then those at the next."""
    ladders = facts.get("ladders")
    if not isinstance(ladders, int) or ladders < 1 or n % ladders:
        raise FileFormatError(f"Expected frames of {ladders} ladders in {folder}; got {n} frames.")
    return np.arange(n) % ladders
