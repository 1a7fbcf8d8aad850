"""Weighted samples of a molecule: what every sampler returns and every analysis takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from boltzflow.core import importance
from boltzflow.energies.potential import Potential, energies_of_frames
from boltzflow.errors import FileFormatError, NonFiniteError, ShapeError, SystemNotFoundError
from boltzflow.units import checked_temperature, thermal_energy

TRAJECTORY, TOPOLOGY, WEIGHTS = "samples.dcd", "topology.pdb", "weights.npz"
_FORMAT_VERSION = 1


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

    Raises:
        ShapeError: if the arrays do not have the same number of frames, or none.
        NonFiniteError: if an energy is NaN or −inf, or a log-weight NaN or +inf.
        OptionError: if the temperature is not positive.

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
    ) -> None:
        self.positions: NDArray[np.float32] = _array(positions).astype(np.float32, copy=False)
        self.energies: NDArray[np.float64] = _array(energies).astype(np.float64, copy=False)
        self.temperature = checked_temperature(temperature)
        self.topology = topology
        n = len(self.energies)
        weights = np.zeros(n) if log_weights is None else _array(log_weights).astype(np.float64)
        self.log_q: NDArray[np.float64] | None = None if log_q is None else _array(log_q).astype(np.float64, copy=False)
        shapes = [self.energies.shape, weights.shape] + ([] if self.log_q is None else [self.log_q.shape])
        if self.positions.ndim != 3 or self.positions.shape[::2] != (n, 3) or set(shapes) != {(n,)} or n == 0:
            raise ShapeError(
                "Expected positions (n, N, 3) with n energies, log-weights and log-densities, n ≥ 1; "
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
        """The ensemble of some frames: a slice, indices, or a mask (n,)."""
        log_q = None if self.log_q is None else self.log_q[frames]
        parts = (self.positions[frames], self.energies[frames], self.temperature, self.log_weights[frames])
        return type(self)(*parts, log_q, self.topology)

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
    def pareto_k(self) -> float:
        """Shape of the weights' tail: averages are not to be trusted above 0.7 (Vehtari et al. 2024)."""
        return importance.pareto_shape(self._log_weights)

    @property
    def log_z(self) -> Estimate:
        """log Z of exp(−U/kT), rigid motion integrated out, with its standard error: the log of the mean weight.

        Raises:
            NonFiniteError: if no weight is positive.
        """
        return Estimate(*importance.log_mean_weight(self._log_weights))

    def mean(self, f: Callable[[mdtraj.Trajectory], ArrayLike] | ArrayLike) -> Estimate:
        """The Boltzmann average of an observable, with its standard error.

        Args:
            f: a function of the mdtraj trajectory that gives values (n, …), or these values themselves.

        Raises:
            ShapeError: if there is not one value for each frame.
            NonFiniteError: if no weight is positive.

        >>> ensemble = Ensemble(np.zeros((2, 1, 3)), [0.0, 0.0], 300.0, log_weights=[0.0, np.log(3.0)])
        >>> ensemble.mean([0.0, 1.0]).value
        0.75
        """
        values = np.asarray(f(self.to_mdtraj()) if callable(f) else f)
        if values.ndim == 0:
            raise ShapeError(f"Expected a value for each of the {len(self)} frames; got the single number {values}.")
        mean, error = importance.weighted_mean(torch.from_numpy(values), self._log_weights)
        if values.ndim == 1:
            return Estimate(mean.item(), error.item())
        return Estimate(mean.numpy(), error.numpy())

    @property
    def _log_weights(self) -> torch.Tensor:
        return torch.from_numpy(self.log_weights)

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
        if self.log_q is not None:
            # What the old Hamiltonian could not evaluate may be sound in the new one.
            found = ~known & np.isfinite(new) & np.isfinite(self.log_q)
            log_weights[found] = -new[found] - self.log_q[found]
        return type(self)(self.positions, energies, temperature, log_weights, self.log_q, self.topology)

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
        if self.log_q is not None:
            arrays["log_q"] = self.log_q
        np.savez(folder / WEIGHTS, **arrays)

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
        try:
            with (folder / WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
            topology = mdtraj.load_topology(str(folder / TOPOLOGY), standard_names=False)
            positions = mdtraj.load_dcd(str(folder / TRAJECTORY), top=topology).xyz
        except Exception as error:  # numpy, zipfile and mdtraj raise many kinds for a damaged file
            raise FileFormatError(f"Cannot read the samples in {folder}: {error}.") from None
        if int(arrays.pop("version", 0)) != _FORMAT_VERSION:
            raise FileFormatError(f"Expected format {_FORMAT_VERSION} of {folder / WEIGHTS}; it is of another one.")
        wanted = {"temperature", "energies", "log_weights"}
        if not wanted <= set(arrays) <= wanted | {"log_q"}:
            raise FileFormatError(
                f"Expected {', '.join(sorted(wanted))} in {folder / WEIGHTS}; got {', '.join(sorted(arrays))}."
            )
        temperature = float(arrays.pop("temperature"))
        return cls(positions=positions, temperature=temperature, topology=topology, **arrays)


def _array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
