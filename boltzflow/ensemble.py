"""Weighted samples of a molecule: the output of every sampler and the input of every analysis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray

from boltzflow.arrayfile import digest_of_arrays, read_arrays
from boltzflow.arrays import Array
from boltzflow.core import importance
from boltzflow.core.contributions import Contributions
from boltzflow.dcd import write_dcd
from boltzflow.energies.potential import Potential, energies_of_frames
from boltzflow.errors import (
    DataError,
    FileFormatError,
    NonFiniteError,
    OptionError,
    RunDirectoryError,
    ShapeError,
    SystemNotFoundError,
)
from boltzflow.estimate import Estimate, Law
from boltzflow.handover import data_frame, dataset, mbar_input, universe, write_colvar
from boltzflow.storage import plain_path, reading, replacing
from boltzflow.trust import AverageLaw, Observed, QuantileLaw, SampleWeights
from boltzflow.units import Temperature, checked_temperature, thermal_energy

TRAJECTORY, TOPOLOGY, WEIGHTS = "samples.dcd", "topology.pdb", "weights.npz"
_FORMAT_VERSION = 1

Observable = Callable[[mdtraj.Trajectory], ArrayLike] | ArrayLike
"""A function that returns values (n, …) for an mdtraj trajectory of n frames, or the values themselves."""


class Ensemble:
    """Samples of a molecule with their energies and log-weights, as numpy arrays. Tensors are accepted too.

    Weighted averages converge to those of the Boltzmann distribution at `temperature`, provided that the sampler covers
    it. A frame that could not be evaluated has energy +inf and weight zero; see `failed`. `ess` is the effective sample
    size as a fraction of n; `effective_samples` in reports and files is a number of samples.

    Args:
        positions: (n, N, 3) in nm.
        energies: (n,) in kJ/mol; None if they are not known. Functions that need energies then raise `DataError`.
        temperature: in K, of the distribution that the weights refer to.
        log_weights: (n,), −inf for weight zero; all equal if not given (samples of an unbiased simulation).
        log_q: (n,), log-density of the sampler in the Cartesian measure with rigid motion integrated out, if known.
        topology: needed for `to_mdtraj` and for saving.
        groups: (n,) integers, equal for frames that are not independent of one another, such as those of one Markov
            chain or copies of one frame. `mean` and `log_z` then take their errors from sums over groups. None if all
            frames are independent.
        absolute: whether the mean weight estimates Z, without an unknown constant. By default this is so if log-weights
            are given together with log q. Equal weights are never absolute.

    Raises:
        ShapeError: if the arrays do not have the same number of frames, there are no frames, or groups are not
            integers.
        NonFiniteError: if an energy is NaN or −inf, or a log-weight NaN or +inf.
        OptionError: if the temperature is not positive.

    >>> ensemble = Ensemble(np.zeros((4, 1, 3)), [0.0, 1.0, 2.0, np.inf], 300.0, log_weights=[0.0, 0.0, -1.0, 0.0])
    >>> round(ensemble.ess, 3), ensemble.failed
    (0.656, 1)
    """

    cut_off: Mapping[str, float] = MappingProxyType({})
    """The probability that the bounds of the sampler's coordinates cut off, by coordinate; weights cannot reveal it."""

    def __init__(
        self,
        positions: ArrayLike | torch.Tensor,
        energies: ArrayLike | torch.Tensor | None,
        temperature: Temperature,
        log_weights: ArrayLike | torch.Tensor | None = None,
        log_q: ArrayLike | torch.Tensor | None = None,
        topology: mdtraj.Topology | None = None,
        groups: ArrayLike | torch.Tensor | None = None,
        absolute: bool | None = None,
    ) -> None:
        self.positions: NDArray[np.float32] = _array(positions, np.float32)
        self._energies: Array | None = _floats(energies)
        self.temperature = checked_temperature(temperature)
        self.topology = topology
        n = len(np.atleast_1d(self.positions))
        weights = np.zeros(n) if log_weights is None else _array(log_weights).astype(np.float64)
        self.log_q: Array | None = _floats(log_q)
        self.groups: NDArray[np.int64] | None = None if groups is None else whole_numbers(_array(groups))
        self.absolute = log_weights is not None and log_q is not None if absolute is None else bool(absolute)
        self._resampled = False  # by weights that are no longer visible
        self._in_order = True  # in the order of sampling, so that a slice does not depend on the weights
        shapes = [weights.shape] + [a.shape for a in (self._energies, self.log_q, self.groups) if a is not None]
        if self.positions.ndim != 3 or self.positions.shape[2] != 3 or set(shapes) != {(n,)} or n == 0:
            raise ShapeError(
                "Expected positions (n, N, 3) with n energies, log-weights, log-densities and groups, n ≥ 1; "
                f"got positions {self.positions.shape} and {', '.join(map(str, shapes))}."
            )
        if topology is not None and topology.n_atoms != self.positions.shape[1]:
            raise ShapeError(f"Expected {topology.n_atoms} atoms, as in the topology; got {self.positions.shape[1]}.")
        if self._energies is not None:
            if np.isnan(self._energies).any() or np.isneginf(self._energies).any():
                raise NonFiniteError("Expected energies that are finite or +inf; got NaN or −inf.")
            weights[np.isposinf(self._energies)] = -np.inf
        if np.isnan(weights).any() or np.isposinf(weights).any():
            raise NonFiniteError("Expected log-weights that are finite or −inf; got NaN or +inf.")
        self.log_weights: Array = weights

    @classmethod
    def from_mdtraj(
        cls,
        trajectory: mdtraj.Trajectory,
        log_weights: ArrayLike | torch.Tensor | None,
        groups: ArrayLike | torch.Tensor | None = None,
        energies: ArrayLike | torch.Tensor | None = None,
        *,
        temperature: Temperature = 300.0,
    ) -> Self:
        """An ensemble from the frames of a trajectory and their known weights, with or without energies.

        Args:
            trajectory: n frames, with its topology.
            log_weights: (n,), known up to a constant; None if all frames have the same weight.
            groups: (n,) integers, equal for frames that are not independent, as in `Ensemble`.
            energies: (n,) in kJ/mol. Averages, densities and populations do not need them.
            temperature: in K, of the distribution that the weights refer to.

        Raises:
            ShapeError: if an array does not have one entry for each frame, or groups are not integers.
            NonFiniteError: if an energy is NaN or −inf, or a log-weight NaN or +inf.
            OptionError: if the temperature is not positive.

        >>> import boltzflow as bf
        >>> system = bf.load_system("alanine_dipeptide")
        >>> one = mdtraj.Trajectory(system.positions, system.mdtraj_topology)
        >>> Ensemble.from_mdtraj(one, [0.0]).mean(mdtraj.compute_rg).value  # nm
        0.298...
        """
        return cls(trajectory.xyz, energies, temperature, log_weights, topology=trajectory.topology, groups=groups)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice | ArrayLike) -> Self:
        """The ensemble of selected frames: a slice, indices, or a mask (n,). `replace` describes what is kept."""
        return self.replace(frames=frames)

    def replace(self, *, frames: slice | ArrayLike | None = None, **changes: Any) -> Self:
        """A copy with some frames selected or some attributes changed.

        Everything that is not named is kept, with three exceptions. First, log q is dropped if positions or log-weights
        change. Second, weights stay `absolute` only if their mean still estimates Z: for all frames in any order, or
        for a slice of frames in the order of sampling. A mask, or indices of some frames, may select by weight; new
        positions, energies, temperatures or log-weights change Z. Third, copies of a frame become a group. An argument
        in `changes` takes precedence over these rules.

        Args:
            frames: a slice, indices, or a mask (n,); all frames if not given.
            changes: arguments of the constructor, with values for the selected frames.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 1.0], 300.0, log_weights=[0.0, 1.0], log_q=[0.0, -2.0])
        >>> ensemble.replace(groups=[0, 0]).absolute, ensemble.replace(log_weights=[0.0, 0.0]).absolute
        (True, False)
        >>> ensemble[[1, 0]].absolute, ensemble[[1]].absolute
        (True, False)
        """
        arrays = {
            "positions": self.positions,
            "energies": self._energies,
            "log_weights": self.log_weights,
            "log_q": None if changes.keys() & {"positions", "log_weights"} else self.log_q,
            "groups": self.groups,
        }
        absolute = self.absolute and not changes.keys() & {"positions", "energies", "temperature", "log_weights"}
        in_order = self._in_order
        if frames is not None:
            chosen = np.arange(len(self))[frames if isinstance(frames, slice) else np.asarray(frames)]
            once = np.unique(chosen)
            if isinstance(frames, slice):
                absolute &= in_order or len(once) == len(self)
            else:
                absolute &= np.asarray(frames).dtype != np.bool_ and len(once) == len(self) == chosen.size
                in_order &= np.array_equal(chosen, np.arange(len(self)))
            arrays = {name: None if array is None else array[chosen] for name, array in arrays.items()}
            if self.groups is None and len(once) < chosen.size:
                arrays["groups"] = chosen
        rest = {"temperature": self.temperature, "topology": self.topology, "absolute": absolute}
        copy = type(self)(**{**arrays, **rest, **changes})
        copy._in_order, copy._resampled, copy.cut_off = in_order, self._resampled, self.cut_off
        return copy

    def __repr__(self) -> str:
        return (
            f"Ensemble({len(self)} frames, {self.positions.shape[1]} atoms, {self.temperature:g} K, ESS {self.ess:.1%})"
        )

    # -- weights -----------------------------------------------------------------------------------

    @property
    def failed(self) -> int:
        """The number of frames whose energy could not be evaluated (+inf)."""
        return 0 if self._energies is None else int(np.isposinf(self._energies).sum())

    @property
    def has_energies(self) -> bool:
        """Whether the energies of the frames are known."""
        return self._energies is not None

    @property
    def energies(self) -> Array:
        """(n,) in kJ/mol.

        Raises:
            DataError: if the ensemble has no energies.
        """
        return self.energies_for("`Ensemble.energies`")

    def energies_for(self, what: str) -> Array:
        """Energies (n,) in kJ/mol, for a function named `what`.

        Raises:
            DataError: if the ensemble has no energies; names the function that needs them.
        """
        if self._energies is None:
            raise DataError(
                f"Expected an ensemble with energies, which {what} needs; this one has none: pass `energies` to "
                "`Ensemble.from_mdtraj`."
            )
        return self._energies

    @property
    def weighting(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-weights and groups (n,), as arguments of `boltzflow.core.importance`."""
        return self._log_weights, None if self.groups is None else torch.from_numpy(self.groups)

    @cached_property
    def sample_weights(self) -> SampleWeights:
        """Diagnostics of the weights, which every estimate uses."""
        return SampleWeights(self.log_weights, self.groups, self._resampled)

    @cached_property
    def weights(self) -> Array:
        """Weights (n,) that add up to 1.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return importance.normalized_weights(self._log_weights).numpy()

    @property
    def ess(self) -> float:
        """Kish's effective sample size as a fraction of n: (Σw)² / (n Σw²); never clipped."""
        return importance.effective_sample_size(self._log_weights)

    def ess_clipped(self, fraction: float = 1e-4) -> float:
        """`ess` with the top `fraction` of weights clipped, for comparison with published numbers."""
        return importance.effective_sample_size(importance.clipped(self._log_weights, fraction))

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the weights, as a fraction of n; less sensitive to single large weights than `ess`.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return importance.perplexity(self._log_weights)

    @property
    def largest_weight(self) -> float:
        """The largest weight as a fraction of the sum of all weights.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return float(self.weights.max())

    @property
    def pareto_k(self) -> float:
        """Shape k̂ of the weights' tail: above 0.7 averages cannot be trusted (Vehtari et al. 2024)."""
        return importance.pareto_shape(self._log_weights)

    @property
    def log_z(self) -> Estimate:
        """log Z of exp(−U/kT), rigid motion integrated out, with its standard error: the log of the mean weight.

        If the weights are not `absolute`, only differences of log Z are meaningful. If few samples have most of the
        weight, the error is far too small; the estimate's `verdict` reports this.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        log_weights, groups = self.weighting
        of_samples = importance.changes_of_log_mean(log_weights)
        changes = of_samples if groups is None else importance.changes_of_log_mean(log_weights, groups)
        law = AverageLaw(Contributions.of(changes, of_samples), self.sample_weights, Observed.MOMENT)
        return Estimate(*importance.log_mean_weight(log_weights, groups), law)

    def mean(
        self, f: Observable, error: Literal["delta", "bootstrap"] = "delta", replicates: int = 200, seed: int = 0
    ) -> Estimate:
        """The Boltzmann average of an observable, with its standard error.

        The mean of booleans is a fraction; if none or all of them are true, its error is the weight of one effective
        sample. For angles use `boltzflow.analysis.circular_mean`.

        Args:
            f: a function that returns a value or an array for each frame, (n, …), of an mdtraj trajectory; or such
                values for all frames. A function receives only the frames of positive weight.
            error: by the delta method, or from the scatter of `replicates` bootstrap replicates with this `seed`.

        Raises:
            ShapeError: if there is not one value for each frame, or the values are not numbers.
            OptionError: if `error` is unknown, or there are too few replicates.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 0.0], 300.0, log_weights=[0.0, np.log(3.0)])
        >>> ensemble.mean([0.0, 1.0]).value
        0.75
        """
        values, (log_weights, groups) = torch.from_numpy(self.values(f)), self.weighting
        if error == "bootstrap":
            random = torch.Generator().manual_seed(seed)
            found = importance.bootstrap_mean(values, log_weights, replicates, random, groups)
        elif error == "delta":
            found = importance.weighted_mean(values, log_weights, groups)
        else:
            raise OptionError(f"Expected error 'delta' or 'bootstrap'; got {error!r}.")
        return _estimate(*found, self.law_of_mean(values))

    def law_of_mean(self, values: torch.Tensor) -> AverageLaw:
        """The law of the error of the mean of values (n, …); for booleans that of a fraction."""
        log_weights, groups = self.weighting
        if values.dtype != torch.bool:
            found = importance.contributions_to_mean(values, log_weights, groups)
            return AverageLaw(found, self.sample_weights)
        # The tail of booleans is that of the weights; a fit would not see it among many equal values.
        found = importance.contributions_to_mean(values, log_weights, groups, self.sample_weights.shape)
        one = 1.0 / importance.effective_groups(log_weights, groups)
        return AverageLaw(found, self.sample_weights, Observed.SHARE, (0.0, 1.0), one)

    def quantile(self, f: Observable, share: float = 0.5) -> Estimate:
        """A weighted quantile of an observable, by default the median, with its standard error.

        The error comes from that of the fraction (Woodruff 1952, DOI 10.1080/01621459.1952.10483443), with linear
        interpolation between samples. It is infinite if the interval extends beyond the samples, or all samples have
        one value.

        Args:
            f: as in `mean`.
            share: the fraction of the weight that the value does not exceed, between 0 and 1.

        Raises:
            ShapeError: if there is not one value for each frame, or the values are not numbers.
            OptionError: if `share` is not between 0 and 1.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.

        >>> Ensemble(np.zeros((5, 1, 3)), np.zeros(5), 300.0).quantile([3.0, 1.0, 2.0, 9.0, 0.0]).value
        2.0
        """
        values, (log_weights, _) = torch.from_numpy(self.values(f)), self.weighting
        found = importance.weighted_quantile(values, log_weights, share)
        columns = values.reshape(len(values), -1).unbind(1)
        distributions = [importance.MidDistribution(column, log_weights) for column in columns]
        law = QuantileLaw(share, partial(self._law_below, values), distributions, found)
        return _estimate(found, torch.as_tensor(law.error), law)

    def _law_below(self, values: torch.Tensor, bounds: torch.Tensor) -> AverageLaw:
        return self.law_of_mean(values <= bounds)

    def values(self, f: Observable) -> NDArray[Any]:
        """The values of an observable in every frame (n, …), numbers or booleans.

        Args:
            f: as in `mean`. A function does not receive frames of weight zero; their values are set to zero.

        Raises:
            ShapeError: if there is not one value for each frame, or the values are not numbers.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
        """
        used = self.weights > 0
        values = np.asarray(f(self[used].to_mdtraj()) if callable(f) else f)
        if values.ndim == 0:
            raise ShapeError(f"Expected a value for each of the {len(self)} frames; got the single number {values}.")
        expected = int(used.sum()) if callable(f) else len(self)
        if len(values) != expected:
            raise ShapeError(f"Expected one value for each of {expected} frames; got {len(values)}.")
        if callable(f):
            seen, values = values, np.zeros((len(self), *values.shape[1:]), values.dtype)
            values[used] = seen
        if values.dtype.kind not in "biuf":
            raise ShapeError(f"Expected numbers or booleans (such as values == 'H'); got {values.dtype}.")
        if bad := int((~np.isfinite(values[used])).sum()):
            raise NonFiniteError(f"Expected finite values of all frames of positive weight; {bad} are not.")
        return values

    def with_log_weights(self, log_weights: ArrayLike | torch.Tensor) -> Self:
        """The same frames with other log-weights (n,).

        log q is dropped, and the weights are known only up to a constant.

        Raises:
            ShapeError: if there is not one log-weight for each frame.
            NonFiniteError: if a log-weight is NaN or +inf.
        """
        return self.replace(log_weights=log_weights)

    @property
    def _log_weights(self) -> torch.Tensor:
        return torch.from_numpy(self.log_weights)

    # -- equal weights -----------------------------------------------------------------------------

    def resample(self, n: int, scheme: importance.Scheme = "systematic", seed: int = 0) -> Self:
        """`n` frames of equal weight, drawn in proportion to the weights: approximate equilibrium samples.

        Resampling adds no information. Copies of a frame form a group in `groups`, so that errors of means stay
        correct. The new ensemble has no absolute log Z.

        Args:
            n: number of frames to draw.
            scheme: "systematic", "residual" or "multinomial", in order of increasing noise.
            seed: of the random numbers.

        Raises:
            OptionError: if the scheme is unknown, or n is not positive.
            NonFiniteError: if no weight is positive.

        >>> ensemble = Ensemble(np.zeros((3, 1, 3)), [0.0, 1.0, 2.0], 300.0, log_weights=np.log([0.5, 0.25, 0.25]))
        >>> ensemble.resample(4).energies.tolist()
        [0.0, 0.0, 1.0, 2.0]
        """
        chosen = importance.resample(self._log_weights, n, torch.Generator().manual_seed(seed), scheme)
        return self.unweighted(chosen.numpy())

    def accept(self, log_bound: float | None = None, seed: int = 0) -> Self:
        """Rejection sampling: each frame is kept with probability weight / bound; kept frames have equal weight.

        If no possible weight of the sampler exceeds the bound, these are exact, independent equilibrium samples. Such a
        bound is rarely known. By default the largest weight of this ensemble is used, and the result is approximate:
        regions with larger weights are undersampled.

        Args:
            log_bound: not below any log-weight; the largest log-weight if not given.
            seed: of the random numbers.

        Raises:
            OptionError: if a weight exceeds the bound.
            NonFiniteError: if no weight is positive, or no frame is accepted.

        >>> ensemble = Ensemble(np.zeros((400, 1, 3)), np.zeros(400), 300.0, log_weights=np.log([1.0, 0.5] * 200))
        >>> 250 < len(ensemble.accept()) < 350
        True
        """
        log_bound = float(self.log_weights.max()) if log_bound is None else log_bound
        chosen = importance.accept(self._log_weights, log_bound, torch.Generator().manual_seed(seed))
        if len(chosen) == 0:
            raise NonFiniteError(
                f"Expected to accept at least one frame; none of {len(self)} was accepted with weights up to "
                f"exp({self.log_weights.max():g}) and the bound exp({log_bound:g})."
            )
        return self.unweighted(chosen.numpy())

    def unweighted(self, frames: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> Self:
        """The frames with these indices (m,), with equal weights; an index may occur repeatedly.

        Copies of a frame form a group, unless `groups` (m,) are given. Equal weights hide the weights by which frames
        were chosen, so verdicts on averages are "with care" at best. log q is dropped, since the frames are no longer
        samples of q.
        """
        if groups is None:
            groups = frames if self.groups is None else self.groups[frames]
        copy = self.replace(frames=frames, log_weights=None, groups=groups)
        copy._resampled = True
        return copy

    # -- for another distribution ------------------------------------------------------------------

    def at(self, temperature: Temperature) -> Self:
        """The same frames, weighted for another temperature T′ in K: U/kT − U/kT′ is added to the log-weights.

        Check the new weights with `boltzflow.analysis.diagnose` before use.

        Raises:
            OptionError: if the temperature is not positive.
            DataError: if there are no energies.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 10.0], 300.0)
        >>> [round(float(w), 3) for w in ensemble.at(600.0).weights]  # the frame of higher energy gains
        [0.119, 0.881]
        """
        return self._reweighted(self.energies_for("`Ensemble.at`"), checked_temperature(temperature))

    def with_potential(self, potential: Potential, temperature: Temperature | None = None) -> Self:
        """The same frames, weighted for another Hamiltonian, and optionally another temperature in K.

        The old reduced energy minus the new one is added to the log-weights. A frame with infinite new energy is kept
        with weight zero.

        Args:
            potential: for the same atoms in the same order, such as `other_system.potential()`.
            temperature: by default that of the ensemble.

        Raises:
            ShapeError: if the potential has another number of atoms.
            OptionError: if the temperature is not positive.
            DataError: if there are no energies.
        """
        self.energies_for("`Ensemble.with_potential`")  # raises before new energies are evaluated
        kelvin = self.temperature if temperature is None else checked_temperature(temperature)
        return self._reweighted(energies_of_frames(potential, self.positions), kelvin)

    def _reweighted(self, energies: Array, temperature: float) -> Self:
        new = energies / thermal_energy(temperature)
        known = np.isfinite(self.energies) & np.isfinite(new)
        old = np.where(known, self.energies, 0.0) / thermal_energy(self.temperature)
        log_weights = np.where(known, self.log_weights + old - np.where(known, new, 0.0), -np.inf)
        # A frame that only the new Hamiltonian can evaluate has a weight if log q is known, and weight zero otherwise.
        found = ~known & np.isfinite(new)
        if self.log_q is not None:
            found &= np.isfinite(self.log_q)
            log_weights[found] = -new[found] - self.log_q[found]
        absolute = self.absolute and (self.log_q is not None or not found.any())
        return self.replace(
            energies=energies, temperature=temperature, log_weights=log_weights, log_q=self.log_q, absolute=absolute
        )

    # -- in and out --------------------------------------------------------------------------------

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """All frames as an `mdtraj.Trajectory`, in the order of `weights`.

        Raises:
            DataError: if the ensemble has no topology.
        """
        if self.topology is None:
            raise DataError("Expected an ensemble with a topology; this one has none.")
        return mdtraj.Trajectory(self.positions, self.topology)

    def columns(self, observables: Mapping[str, Observable] | None = None) -> dict[str, NDArray[Any]]:
        """What is known of every frame, by name: the content of `to_pandas` and `to_xarray`.

        energy (kJ/mol), log_weight, weight, log_q, group, as far as they are known; then the observables.

        Args:
            observables: by name, as in `mean`. Frames of weight zero have the value NaN.

        Raises:
            OptionError: if an observable has the name of another column.
            ShapeError: if there is not one value for each frame.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
        """
        known: dict[str, NDArray[Any] | None] = {"energy": self._energies, "log_weight": self.log_weights}
        known |= {"weight": self.weights, "log_q": self.log_q, "group": self.groups}
        found: dict[str, NDArray[Any]] = {name: values for name, values in known.items() if values is not None}
        unused = self.weights == 0
        for name, observable in (observables or {}).items():
            if name in known:
                raise OptionError(f"Expected another name for an observable than {', '.join(known)}; got {name!r}.")
            values = self.values(observable)
            if unused.any():
                values = values.astype(np.float64)
                values[unused] = np.nan
            found[name] = values
        return found

    def to_pandas(self, observables: Mapping[str, Observable] | None = None) -> Any:
        """A pandas DataFrame with one row for each frame and the `columns`.

        Its methods know nothing of weights: `frame["phi"].mean()` is not a Boltzmann average. `attrs` has the
        temperature.

        Args:
            observables: by name, as in `mean`, with one number for each frame.

        Raises:
            MissingDependencyError: if pandas is not installed (the extra "interop").
            ShapeError: if an observable does not have one number for each frame.
        """
        found = self.columns(observables)
        for name, values in found.items():
            if values.ndim != 1:
                raise ShapeError(
                    f"Expected one number for each frame in a table; {name!r} has the shape {values.shape}."
                )
        return data_frame(found, self.temperature)

    def to_xarray(self, observables: Mapping[str, Observable] | None = None, positions: bool = False) -> Any:
        """An xarray Dataset over the dimension "frame" with the `columns` as variables.

        The average of a variable is `data["phi"].weighted(data["weight"]).mean()`; errors and verdicts are those of
        `mean`. Units are attributes of the variables, the temperature of the dataset.

        Args:
            observables: by name, as in `mean`; arrays (n, …) get dimensions of their own.
            positions: whether to include positions (frame, atom, axis) in nm. They are not copied.

        Raises:
            MissingDependencyError: if xarray is not installed (the extra "interop").
        """
        return dataset(
            self.columns(observables), self.temperature, self.positions if positions else None, self.topology
        )

    def to_mdanalysis(self) -> Any:
        """An MDAnalysis Universe with all frames in memory, in Å, in the order of `weights`.

        A Universe has no place for weights: averages over its trajectory must use `weights` themselves.

        Raises:
            DataError: if the ensemble has no topology.
            MissingDependencyError: if MDAnalysis is not installed (the extra "interop").
        """
        return universe(self.positions, self.to_mdtraj().topology)

    def to_pymbar(self, temperatures: Sequence[Temperature] = ()) -> tuple[Array, NDArray[np.int64]]:
        """`u_kn` (K, n) and `N_k` (K,) for `pymbar.MBAR`.

        State 0 is the distribution that was sampled, known by the weights: u₀ = U/kT + log w. State 1 is the Boltzmann
        distribution at the temperature of the ensemble, u₁ = U/kT, without samples; then further temperatures. With
        `absolute` weights f₁ − f₀ is −log Z.

        Args:
            temperatures: in K, of further states.

        Raises:
            DataError: if frames share groups, which MBAR would treat as independent, or if energies are needed and not
                known.
            OptionError: if a temperature is not positive.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 5.0], 300.0, log_weights=[0.0, -1.0])
        >>> u_kn, counts = ensemble.to_pymbar()
        >>> u_kn.round(2), counts
        (array([[0., 1.], [0., 2.]]), array([2, 0]))
        """
        if self.groups is not None and len(np.unique(self.groups)) < len(self):
            raise DataError("Expected independent frames for pymbar; these have groups: choose one frame of each.")
        energies = self.energies_for("`Ensemble.to_pymbar`")
        kelvins = [self.temperature, *map(checked_temperature, temperatures)]
        reduced = [energies / thermal_energy(kelvin) for kelvin in kelvins]
        return mbar_input(self.log_weights, self.log_q, reduced)

    def write_colvar(
        self, path: str | Path, observables: Mapping[str, Observable], periodic: Collection[str] = ()
    ) -> None:
        """Write a COLVAR file for PLUMED: observables, energy, logweight and bias of each frame.

        The first lines are "#! FIELDS time …" and the constant kT in kJ/mol. "time" is the number of the frame. Frames
        of weight zero are left out. "bias" is kT · logweight in kJ/mol: with `READ` for it, `REWEIGHT_BIAS` at the same
        temperature gives each frame its weight. PLUMED treats frames as it treats those of one trajectory; its errors
        need a block size of 1.

        Args:
            path: of the file.
            observables: by name, as in `mean`, with one number for each frame; names without spaces.
            periodic: names of observables that are angles in rad, from −π to π.

        Raises:
            OptionError: if a name cannot be used, or `periodic` has a name that is no observable.
            ShapeError: if an observable does not have one number for each frame.
            StorageError: if the file cannot be written.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.
        """
        reserved = {"time", "energy", "logweight", "bias", "kT"} & observables.keys()
        if reserved:
            raise OptionError(f"Expected other names than those of the file's own columns; got {sorted(reserved)[0]}.")
        used = self.weights > 0
        found = {name: self.values(observable)[used] for name, observable in observables.items()}
        for name, values in found.items():
            if values.ndim != 1:
                raise ShapeError(f"Expected one number for each frame of {name!r}; got the shape {values.shape}.")
        if self._energies is not None:
            found["energy"] = self._energies[used]
        found["logweight"] = self.log_weights[used]
        write_colvar(Path(path), found, np.flatnonzero(used), thermal_energy(self.temperature), periodic)

    def save(self, directory: str | Path, overwrite: bool = False) -> None:
        """Write samples.dcd (positions, float32), topology.pdb (one frame) and weights.npz.

        Args:
            directory: created if it does not exist.
            overwrite: whether existing files are replaced.

        Raises:
            DataError: if the ensemble has no topology.
            RunDirectoryError: if one of these files exists and `overwrite` is False.
            StorageError: if a file cannot be written.
        """
        if self.topology is None:
            raise DataError("Expected an ensemble with a topology; this one has none.")
        # The PDB format cannot represent NaN, which failed frames may have.
        heaviest = np.nan_to_num(self.positions[int(np.argmax(self.log_weights))], nan=0.0, posinf=0.0, neginf=0.0)
        folder = Path(directory)
        taken = [name for name in (TRAJECTORY, TOPOLOGY, WEIGHTS) if (folder / name).exists()]
        if taken and not overwrite:
            raise RunDirectoryError(f"{folder} already contains {taken[0]}: save elsewhere, or with overwrite=True.")
        # Remove old weights first: they must never be combined with new frames.
        (folder / WEIGHTS).unlink(missing_ok=True)
        write_dcd(folder / TRAJECTORY, self.positions)
        with replacing(folder / TOPOLOGY) as partial:
            mdtraj.Trajectory(heaviest, self.topology).save_pdb(str(partial))
        arrays: dict[str, Any] = {"version": _FORMAT_VERSION, "temperature": self.temperature}
        arrays["log_weights"] = self.log_weights
        said = None if self.absolute == (self.log_q is not None) else np.array(self.absolute)
        order = None if self._in_order else np.array(False)
        optional = {"energies": self._energies, "log_q": self.log_q, "groups": self.groups}
        optional |= {"absolute": said, "in_order": order, "resampled": np.array(True) if self._resampled else None}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        if self.cut_off:
            arrays |= {"cut_off": np.array(list(self.cut_off.values())), "cut_off_by": np.array(list(self.cut_off))}
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        # The digest comes first: damage to the end of the archive's directory would remove the last entry.
        with replacing(folder / WEIGHTS) as partial, partial.open("wb") as file:
            np.savez(file, sha256=np.array(_digest(arrays, folder)), **arrays)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read an ensemble that `save` wrote.

        Raises:
            SystemNotFoundError: if a file is missing.
            FileFormatError: if a file is damaged or of a newer format.
        """
        folder = Path(directory)
        for name in (TRAJECTORY, TOPOLOGY, WEIGHTS):
            if not (folder / name).is_file():
                raise SystemNotFoundError(f"Expected samples in {folder}; the file {name} is missing.")
        with reading(folder, "Cannot read the samples in {}"):
            arrays: dict[str, Any] = read_arrays(folder / WEIGHTS)
            written = arrays.pop("sha256", None)  # files of older versions have none and are not checked
            if written is not None and str(written) != _digest(arrays, folder):
                raise ValueError(f"{WEIGHTS}, {TRAJECTORY} and {TOPOLOGY} were not written together, or were changed")
            topology = mdtraj.load_topology(str(folder / TOPOLOGY), standard_names=False)
            with plain_path(folder / TRAJECTORY) as dcd:
                positions = mdtraj.load_dcd(dcd, top=topology).xyz
        if not np.array_equal(arrays.pop("version", 0), _FORMAT_VERSION):
            raise FileFormatError(f"Expected format {_FORMAT_VERSION} of {folder / WEIGHTS}; got another format.")
        cut_off = dict(
            zip(*(arrays.pop(name, np.empty(0)).tolist() for name in ("cut_off_by", "cut_off")), strict=True)
        )
        wanted = {"temperature", "log_weights"}
        if not wanted <= set(arrays) <= wanted | {"energies", "log_q", "groups", "absolute", "in_order", "resampled"}:
            raise FileFormatError(
                f"Expected {', '.join(sorted(wanted))} in {folder / WEIGHTS}; got {', '.join(sorted(arrays))}."
            )
        with reading(folder, "Cannot read the samples in {}"):
            if any(array.dtype.kind not in "biuf" for array in arrays.values()):
                raise ValueError("an array does not contain numbers")
            temperature, in_order = float(arrays.pop("temperature")), bool(arrays.pop("in_order", True))
            resampled = bool(arrays.pop("resampled", False))
            arrays.setdefault("energies", None)
            found = cls(positions=positions, temperature=temperature, topology=topology, **arrays)
        found._in_order, found._resampled, found.cut_off = in_order, resampled, cut_off
        return found


def whole_numbers(groups: ArrayLike) -> NDArray[np.int64]:
    """Groups (n,) as int64.

    Raises:
        ShapeError: if they are not integers: rounding floats could merge groups.

    >>> whole_numbers([3, 3, 7])
    array([3, 3, 7])
    """
    found = np.asarray(groups)
    if found.dtype.kind not in "iu":
        raise ShapeError(f"Expected groups of an integer dtype; got {found.dtype}.")
    return found.astype(np.int64)


def _digest(arrays: dict[str, NDArray[Any]], folder: Path) -> str:
    return digest_of_arrays(arrays, {name: folder / name for name in (TRAJECTORY, TOPOLOGY)})


def _estimate(value: torch.Tensor, error: torch.Tensor, law: Law) -> Estimate:
    if value.ndim == 0:
        return Estimate(value.item(), error.item(), law)
    return Estimate(value.numpy(), error.numpy(), law)


def _array(values: ArrayLike | torch.Tensor, dtype: DTypeLike | None = None) -> NDArray[Any]:
    try:
        found = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        return found if dtype is None else found.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"Expected an array of numbers: {error}.") from None


def _floats(values: ArrayLike | torch.Tensor | None) -> Array | None:
    return None if values is None else _array(values, np.float64)
