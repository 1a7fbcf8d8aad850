"""Weighted samples of a molecule: what every sampler returns and every analysis takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from boltzflow.arrayfile import digest_of_arrays, read_arrays
from boltzflow.core import importance
from boltzflow.energies.potential import Potential, energies_of_frames
from boltzflow.errors import FileFormatError, NonFiniteError, OptionError, ShapeError, SystemNotFoundError
from boltzflow.storage import reading
from boltzflow.units import checked_temperature, thermal_energy

TRAJECTORY, TOPOLOGY, WEIGHTS = "samples.dcd", "topology.pdb", "weights.npz"
_FORMAT_VERSION = 1

Observable = Callable[[mdtraj.Trajectory], ArrayLike] | ArrayLike
"""A function of an mdtraj trajectory of n frames that gives values (n, …), or these values themselves."""


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: Any
    error: Any


class Ensemble:
    """Samples of a molecule with their energies and log-weights, as numpy arrays; tensors are taken too.

    Weighted averages converge to those of the Boltzmann distribution at `temperature`, wherever the sampler
    covers it. A frame that could not be evaluated has energy +inf and weight zero; see `failed`.

    Args:
        positions: (n, N, 3) in nm.
        energies: (n,) in kJ/mol.
        temperature: in K, of the distribution that the weights refer to.
        log_weights: (n,), −inf for weight zero; all equal if not given (samples of an unbiased simulation).
        log_q: (n,), log-density of the sampler in the Cartesian measure with rigid motion integrated out, if known.
        topology: for `to_mdtraj` and files.
        groups: (n,) whole numbers, the same for frames that are not independent of one another: those of one Markov
            chain, copies of one frame. `mean` and `log_z` take their errors from the sums over groups then. None for
            frames that are all independent.
        absolute: whether the mean weight estimates Z, so that no constant is left open; if not given, that is so where
            log-weights come with log q. Equal weights never are.

    Raises:
        ShapeError: if the arrays do not have the same number of frames, or none.
        NonFiniteError: if an energy is NaN or −inf, or a log-weight NaN or +inf.
        OptionError: if the temperature is not positive, or groups are not of an integer dtype.

    >>> ensemble = Ensemble(np.zeros((4, 1, 3)), [0.0, 1.0, 2.0, np.inf], 300.0, log_weights=[0.0, 0.0, -1.0, 0.0])
    >>> round(ensemble.ess, 3), ensemble.failed
    (0.656, 1)
    """

    def __init__(
        self,
        positions: ArrayLike | torch.Tensor,
        energies: ArrayLike | torch.Tensor,
        temperature: float,
        log_weights: ArrayLike | torch.Tensor | None = None,
        log_q: ArrayLike | torch.Tensor | None = None,
        topology: mdtraj.Topology | None = None,
        groups: ArrayLike | torch.Tensor | None = None,
        absolute: bool | None = None,
    ) -> None:
        self.positions: NDArray[np.float32] = _array(positions).astype(np.float32, copy=False)
        self.energies: NDArray[np.float64] = _array(energies).astype(np.float64, copy=False)
        self.temperature = checked_temperature(temperature)
        self.topology = topology
        n = len(self.energies)
        weights = np.zeros(n) if log_weights is None else _array(log_weights).astype(np.float64)
        self.log_q: NDArray[np.float64] | None = None if log_q is None else _array(log_q).astype(np.float64, copy=False)
        self.groups: NDArray[np.int64] | None = None if groups is None else whole_numbers(_array(groups))
        self.absolute = log_weights is not None and log_q is not None if absolute is None else bool(absolute)
        shapes = [self.energies.shape, weights.shape] + [a.shape for a in (self.log_q, self.groups) if a is not None]
        if self.positions.ndim != 3 or self.positions.shape[::2] != (n, 3) or set(shapes) != {(n,)} or n == 0:
            raise ShapeError(
                "Expected positions (n, N, 3) with n energies, log-weights, log-densities and groups, n ≥ 1; "
                f"got positions {self.positions.shape} and {', '.join(map(str, shapes))}."
            )
        if topology is not None and topology.n_atoms != self.positions.shape[1]:
            raise ShapeError(f"Expected {topology.n_atoms} atoms, as in the topology; got {self.positions.shape[1]}.")
        if np.isnan(self.energies).any() or np.isneginf(self.energies).any():
            raise NonFiniteError("Expected energies that are finite or +inf; got NaN or −inf.")
        weights[np.isposinf(self.energies)] = -np.inf
        if np.isnan(weights).any() or np.isposinf(weights).any():
            raise NonFiniteError("Expected log-weights that are finite or −inf; got NaN or +inf.")
        self.log_weights: NDArray[np.float64] = weights

    def __len__(self) -> int:
        return len(self.energies)

    def __getitem__(self, frames: slice | NDArray[Any]) -> Self:
        """The ensemble of some frames: a slice, indices, or a mask (n,).

        Weights of what a mask has chosen add up to a part of Z, and are not `absolute` any more.
        """
        log_q, groups = (None if array is None else array[frames] for array in (self.log_q, self.groups))
        parts = (self.positions[frames], self.energies[frames], self.temperature, self.log_weights[frames])
        absolute = self.absolute and getattr(frames, "dtype", None) != np.bool_
        return type(self)(*parts, log_q, self.topology, groups, absolute)

    def __repr__(self) -> str:
        return (
            f"Ensemble({len(self)} frames, {self.positions.shape[1]} atoms, {self.temperature:g} K, ESS {self.ess:.1%})"
        )

    # -- weights -----------------------------------------------------------------------------------

    @property
    def failed(self) -> int:
        """The number of frames whose energy could not be evaluated (+inf)."""
        return int(np.isposinf(self.energies).sum())

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weights (n,) that add up to 1.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return importance.normalized_weights(self._log_weights).numpy()

    @property
    def ess(self) -> float:
        """Kish's effective sample size as a fraction of n, (Σw)² / (n Σw²); never clipped."""
        return importance.effective_sample_size(self._log_weights)

    def ess_clipped(self, fraction: float = 1e-4) -> float:
        """The effective sample size with the top `fraction` of weights clipped: for comparison with others' numbers."""
        return importance.effective_sample_size(importance.clipped(self._log_weights, fraction))

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the weights, as a fraction of n; less hard on single large weights than `ess`.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return importance.perplexity(self._log_weights)

    @property
    def largest_weight(self) -> float:
        """The share of the largest weight in the sum of all.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return float(self.weights.max())

    @property
    def pareto_k(self) -> float:
        """Shape of the weights' tail: averages are not to be trusted above 0.7 (Vehtari et al. 2024)."""
        return importance.pareto_shape(self._log_weights)

    @property
    def log_z(self) -> Estimate:
        """log Z of exp(−U/kT), rigid motion integrated out, with its standard error: the log of the mean weight.

        Only differences mean something where weights are not `absolute`. Where few samples have most of the weight the
        error is far too small: `boltzflow.analysis.absolute_free_energy` says whether that is so.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return Estimate(*importance.log_mean_weight(self._log_weights, self._groups))

    def mean(
        self, f: Observable, error: Literal["delta", "bootstrap"] = "delta", replicates: int = 200, seed: int = 0
    ) -> Estimate:
        """The Boltzmann average of an observable, with its standard error.

        Booleans give shares; where none or all of them are true, the error is the share of one effective sample.
        Angles have no mean like this one: see `boltzflow.analysis.circular_mean`.

        Args:
            f: a function of the mdtraj trajectory of the frames of positive weight that gives a value or an array for
                each, (n, …), or such values for all frames.
            error: by the delta method, or the scatter of `replicates` bootstrap draws with this `seed`.

        Raises:
            ShapeError: if there is not one value for each frame.
            OptionError: if the values are no numbers, there is no such error, or too few replicates for it.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 0.0], 300.0, log_weights=[0.0, np.log(3.0)])
        >>> ensemble.mean([0.0, 1.0]).value
        0.75
        """
        values = self._values(f)
        if error == "bootstrap":
            random = torch.Generator().manual_seed(seed)
            found = importance.bootstrap_mean(values, self._log_weights, replicates, random, self._groups)
        elif error == "delta":
            found = importance.weighted_mean(values, self._log_weights, self._groups)
        else:
            raise OptionError(f"Expected an error by 'delta' or 'bootstrap'; got {error!r}.")
        return _estimate(*found)

    def quantile(self, f: Observable, share: float = 0.5) -> Estimate:
        """The value of an observable that `share` of the weight does not exceed (the median), with its standard error.

        The error comes from that of the share (Woodruff 1952, DOI 10.1080/01621459.1952.10483443); it is infinite where
        the samples do not reach far enough.

        Args:
            f: as in `mean`.
            share: between 0 and 1.

        Raises:
            ShapeError: if there is not one value for each frame.
            OptionError: if the values are no numbers, or the share is not between 0 and 1.
            NonFiniteError: if no weight is positive, or a frame of positive weight has a value that is not finite.

        >>> Ensemble(np.zeros((5, 1, 3)), np.zeros(5), 300.0).quantile([3.0, 1.0, 2.0, 9.0, 0.0]).value
        2.0
        """
        return _estimate(*importance.weighted_quantile(self._values(f), self._log_weights, share, self._groups))

    def _values(self, f: Observable) -> torch.Tensor:
        """(n, …): of frames of weight zero, which a function never sees, zeros where it is one."""
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
            raise OptionError(f"Expected numbers or booleans, such as values == 'H'; got {values.dtype}.")
        if not np.isfinite(values[used]).all():
            raise NonFiniteError("Expected finite values of all frames of positive weight; got NaN or infinity.")
        return torch.from_numpy(values)

    def with_log_weights(self, log_weights: ArrayLike | torch.Tensor) -> Self:
        """The same frames with other log-weights (n,).

        log q is left out, for it says nothing of these: their constant may be any.

        Raises:
            ShapeError: if there is not one for each frame.
            NonFiniteError: if one is NaN or +inf.
        """
        parts = (self.positions, self.energies, self.temperature, log_weights)
        return type(self)(*parts, topology=self.topology, groups=self.groups)

    @property
    def _log_weights(self) -> torch.Tensor:
        return torch.from_numpy(self.log_weights)

    @property
    def _groups(self) -> torch.Tensor | None:
        return None if self.groups is None else torch.from_numpy(self.groups)

    # -- equal weights -----------------------------------------------------------------------------

    def resample(self, n: int, scheme: importance.Scheme = "systematic", seed: int = 0) -> Self:
        """`n` frames of equal weight, drawn in proportion to the weights: approximate samples of the equilibrium.

        They hold no more than this ensemble does: copies of a frame are a group of `groups`, so that errors of means
        stay honest. log Z is not theirs any more.

        Args:
            n: how many frames to draw.
            scheme: "systematic", "residual" or "multinomial": how, with the least noise first.
            seed: of the random numbers.

        Raises:
            OptionError: if there is no such scheme, or nothing to draw.
            NonFiniteError: if no weight is positive.

        >>> ensemble = Ensemble(np.zeros((3, 1, 3)), [0.0, 1.0, 2.0], 300.0, log_weights=np.log([0.5, 0.25, 0.25]))
        >>> ensemble.resample(4).energies.tolist()
        [0.0, 0.0, 1.0, 2.0]
        """
        chosen = importance.resample(self._log_weights, n, torch.Generator().manual_seed(seed), scheme)
        return self.unweighted(chosen.numpy())

    def accept(self, log_bound: float | None = None, seed: int = 0) -> Self:
        """The frames that survive rejection sampling: kept with probability weight / bound, then all of one weight.

        With a bound that no weight can exceed, whatever the sampler draws, these are exact and independent samples of
        the equilibrium. Such a bound is hardly ever known. The largest weight seen here is an estimate of it from the
        samples, and makes them approximate: regions whose weights exceed it come up too rarely.

        Args:
            log_bound: at least every log-weight; that of the largest one here if not given.
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
                f"Expected to accept a frame; none of {len(self)} with weights up to exp({self.log_weights.max():g}) "
                f"was, at a bound of exp({log_bound:g})."
            )
        return self.unweighted(chosen.numpy())

    def unweighted(self, frames: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> Self:
        """The frames with these indices (m,), each as often as its index comes up, with equal weights.

        Copies of a frame are a group, if no `groups` (m,) are given. There are groups even where no frame comes up
        twice: equal weights in groups tell `boltzflow.analysis.weights_verdict` that they hide those of another
        ensemble. log q is left out, since the frames are not samples of q any more.
        """
        if groups is None:
            groups = frames if self.groups is None else self.groups[frames]
        parts = (self.positions[frames], self.energies[frames], self.temperature)
        return type(self)(*parts, topology=self.topology, groups=groups)

    # -- for another distribution ------------------------------------------------------------------

    def at(self, temperature: object) -> Self:
        """The same frames, weighted for another temperature in K: log-weights rise by U/kT − U/kT'.

        Look at the weights before they are used: `boltzflow.analysis.weights_verdict`.

        Raises:
            OptionError: if the temperature is not positive.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 10.0], 300.0)
        >>> [round(float(w), 3) for w in ensemble.at(600.0).weights]  # the frame of higher energy gains
        [0.119, 0.881]
        """
        return self._reweighted(self.energies, checked_temperature(temperature))

    def with_potential(self, potential: Potential, temperature: object = None) -> Self:
        """The same frames, weighted for another Hamiltonian, and another temperature in K if one is given.

        Log-weights rise by the reduced energy that was less the one that is. A frame of infinite new energy has
        weight zero, and stays.

        Args:
            potential: of the same atoms in the same order, such as `other_system.potential()`.
            temperature: by default that of the ensemble.

        Raises:
            ShapeError: if the potential is of another number of atoms.
            OptionError: if the temperature is not positive.
        """
        kelvin = self.temperature if temperature is None else checked_temperature(temperature)
        return self._reweighted(energies_of_frames(potential, self.positions), kelvin)

    def _reweighted(self, energies: NDArray[np.float64], temperature: float) -> Self:
        new = energies / thermal_energy(temperature)
        known = np.isfinite(self.energies) & np.isfinite(new)
        old = np.where(known, self.energies, 0.0) / thermal_energy(self.temperature)
        log_weights = np.where(known, self.log_weights + old - np.where(known, new, 0.0), -np.inf)
        # What the old Hamiltonian could not evaluate may be sound in the new one: without log q it has no weight there.
        found = ~known & np.isfinite(new)
        if self.log_q is not None:
            found &= np.isfinite(self.log_q)
            log_weights[found] = -new[found] - self.log_q[found]
        absolute = self.absolute and (self.log_q is not None or not found.any())
        parts = (self.positions, energies, temperature, log_weights, self.log_q, self.topology, self.groups)
        return type(self)(*parts, absolute)

    # -- in and out --------------------------------------------------------------------------------

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """All frames as an `mdtraj.Trajectory`; `weights` are for its frames, in order.

        Raises:
            ShapeError: if the ensemble has no topology.
        """
        if self.topology is None:
            raise ShapeError("Expected an ensemble with a topology; this one was made without.")
        return mdtraj.Trajectory(self.positions, self.topology)

    def save(self, directory: str | Path) -> None:
        """Write samples.dcd (positions, float32), topology.pdb (one frame) and weights.npz.

        Files of that name are replaced.

        Raises:
            ShapeError: if the ensemble has no topology.
        """
        trajectory = self.to_mdtraj()
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        # Without weights there are no samples: old ones must not be taken for those of new frames.
        (folder / WEIGHTS).unlink(missing_ok=True)
        trajectory.save_dcd(str(folder / TRAJECTORY))
        trajectory[int(np.argmax(self.log_weights))].save_pdb(str(folder / TOPOLOGY))
        arrays: dict[str, Any] = {"version": _FORMAT_VERSION, "temperature": self.temperature}
        arrays |= {"energies": self.energies, "log_weights": self.log_weights}
        said = None if self.absolute == (self.log_q is not None) else np.array(self.absolute)
        optional = {"log_q": self.log_q, "groups": self.groups, "absolute": said}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        # The digest first, for damage to the end of the file's table of contents would take away what comes last.
        np.savez(folder / WEIGHTS, sha256=np.array(_digest(arrays, folder)), **arrays)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            SystemNotFoundError: if a file is missing.
            FileFormatError: if a file is damaged or of a newer format.
        """
        folder = Path(directory)
        for name in (TRAJECTORY, TOPOLOGY, WEIGHTS):
            if not (folder / name).is_file():
                raise SystemNotFoundError(f"Expected samples in {folder}; {name} is missing.")
        with reading(folder, "Cannot read the samples in {}"):
            arrays: dict[str, Any] = read_arrays(folder / WEIGHTS)
            written = arrays.pop("sha256", None)  # of what was saved before there was one, nothing is compared
            if written is not None and str(written) != _digest(arrays, folder):
                raise ValueError(f"{WEIGHTS}, {TRAJECTORY} and {TOPOLOGY} are not what was written together")
            topology = mdtraj.load_topology(str(folder / TOPOLOGY), standard_names=False)
            positions = mdtraj.load_dcd(str(folder / TRAJECTORY), top=topology).xyz
        if not np.array_equal(arrays.pop("version", 0), _FORMAT_VERSION):
            raise FileFormatError(f"Expected format {_FORMAT_VERSION} of {folder / WEIGHTS}; it is of another one.")
        wanted = {"temperature", "energies", "log_weights"}
        if not wanted <= set(arrays) <= wanted | {"log_q", "groups", "absolute"}:
            raise FileFormatError(
                f"Expected {', '.join(sorted(wanted))} in {folder / WEIGHTS}; got {', '.join(sorted(arrays))}."
            )
        with reading(folder, "Cannot read the samples in {}"):
            temperature = float(arrays.pop("temperature"))
            return cls(positions=positions, temperature=temperature, topology=topology, **arrays)


def whole_numbers(groups: ArrayLike) -> NDArray[np.int64]:
    """Groups (n,) as int64.

    Raises:
        OptionError: if they are of another kind: floats would lose what tells them apart.

    >>> whole_numbers([3, 3, 7])
    array([3, 3, 7])
    """
    found = np.asarray(groups)
    if found.dtype.kind not in "iu":
        raise OptionError(f"Expected groups as whole numbers, of an integer dtype; got {found.dtype}.")
    return found.astype(np.int64)


def _digest(arrays: dict[str, NDArray[Any]], folder: Path) -> str:
    return digest_of_arrays(arrays, {name: folder / name for name in (TRAJECTORY, TOPOLOGY)})


def _estimate(value: torch.Tensor, error: torch.Tensor) -> Estimate:
    """Plain numbers of a single observable, arrays of several."""
    return Estimate(value.item(), error.item()) if value.ndim == 0 else Estimate(value.numpy(), error.numpy())


def _array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
