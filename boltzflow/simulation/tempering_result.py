"""The results of parallel tempering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, InsufficientDataError, NonFiniteError, OptionError, ShapeError
from boltzflow.estimate import Estimate
from boltzflow.mbar import free_energies, log_mixture
from boltzflow.simulation.frames import Frames
from boltzflow.units import GAS_CONSTANT, thermal_energy


@dataclass(frozen=True, eq=False)
class TemperingResult:
    """Frames of T temperatures and L independent ladders, (n, T, L), with their energies.

    Ladders in which a replica has become unstable are left out; `lost` marks them.

    Attributes:
        temperatures: (T,) in K, ascending.
        frames: the recorded frames.
        lost: (ladders,) whether a replica of a ladder has become unstable.
        kept: indices of the temperatures whose positions were recorded.
        acceptance: (T − 1,) fraction of accepted swaps between neighbours.
        round_trips: number of round trips from the coldest temperature to the hottest and back, over all ladders.
        topology: for trajectories.
        part: the slice of frames that is used.
    """

    temperatures: tuple[float, ...]
    frames: Frames
    lost: Tensor
    kept: tuple[int, ...]
    acceptance: tuple[float, ...]
    round_trips: int
    topology: mdtraj.Topology | None = None
    part: slice = field(default_factory=lambda: slice(None))

    def __post_init__(self) -> None:
        if bool(self.lost.all()):
            raise NonFiniteError(
                f"All {len(self.lost)} ladders have become unstable: a smaller time step or a minimised initial "
                "structure may help."
            )

    def during(self, part: slice) -> TemperingResult:
        """The result restricted to some of the n frames, such as ``slice(0, n // 2)``."""
        return replace(self, part=part)

    # -- what was recorded -------------------------------------------------------------------------

    @cached_property
    def energies(self) -> Array:
        """Potential energies without the bias, (n, T, L) in kJ/mol."""
        return self._read("energies").double().numpy()

    @cached_property
    def bias(self) -> Array:
        """Bias energies, (n, T, L) in kJ/mol."""
        return self._read("bias").double().numpy()

    @cached_property
    def observables(self) -> Array:
        """Observables, (n, T, L, K), as computed by the function given to `ParallelTempering`."""
        return self._read("observables").double().numpy()

    def positions(self, temperature: float) -> NDArray[np.float32]:
        """Positions (n, L, N, 3) in nm at one temperature of the ladder whose positions were recorded.

        Raises:
            OptionError: if the temperature is not one of the ladder.
            DataError: if its positions were not recorded.
        """
        index = self._index(temperature)
        if index not in self.kept:
            recorded = ", ".join(f"{self.temperatures[i]:g}" for i in self.kept) or "none"
            raise DataError(f"Expected a temperature with recorded positions ({recorded} K); got {temperature:g} K.")
        return self._read("positions", self.kept.index(index)).float().numpy()

    def ensemble(self, temperature: float) -> Ensemble:
        """The n·L frames at one temperature of the ladder, ordered by frame; the weights remove the bias.

        The frames of one ladder form a group, so that errors of means come from the scatter between ladders.

        Raises:
            OptionError: if the temperature is not one of the ladder.
            DataError: if its positions were not recorded.
        """
        index, positions = self._index(temperature), self.positions(temperature)
        kt = GAS_CONSTANT * self.temperatures[index]
        return Ensemble(
            positions.reshape(-1, *positions.shape[2:]),
            self.energies[:, index].flatten(),
            self.temperatures[index],
            log_weights=self.bias[:, index].flatten() / kt,
            topology=self.topology,
            groups=np.tile(np.arange(positions.shape[1]), len(positions)),
        )

    def trajectory(self, temperature: float) -> mdtraj.Trajectory:
        """The frames of `ensemble` as an mdtraj trajectory."""
        return self.ensemble(temperature).to_mdtraj()

    # -- averages ----------------------------------------------------------------------------------

    def mean(self, values: ArrayLike, temperature: float | Sequence[float]) -> Estimate:
        """The Boltzmann average of values (n, T, L) at one or several temperatures in K, with its standard error.

        See `estimate`.
        """
        value = torch.as_tensor(np.asarray(values, dtype=np.float64))
        if value.shape != self.energies.shape:
            raise ShapeError(f"Expected values {self.energies.shape}; got {tuple(value.shape)}.")
        return self.estimate(lambda weights: (weights * value).sum(), temperature)

    def estimate(self, statistic: Callable[[Tensor], Tensor], temperature: float | Sequence[float]) -> Estimate:
        """A function of the MBAR weights of all frames at a temperature, with its standard error.

        The weights remove the bias. The error is a jackknife estimate over ladders, and the free energies are solved
        again without each ladder. The error therefore includes all correlations within a ladder.

        Args:
            statistic: weights (n, T, L), float64, normalised to 1 → a tensor, always of the same shape.
            temperature: in K; several temperatures form the first axis of the result. They should lie within the
                range of the ladder.

        Raises:
            OptionError: if a temperature is not positive.
            InsufficientDataError: if there is a single ladder.
        """
        ladders = self.energies.shape[2]
        if ladders < 2:
            raise InsufficientDataError("Expected at least 2 ladders to estimate errors from their scatter; got 1.")
        value = self.average(statistic, temperature)
        rest = torch.stack([self._average(statistic, temperature, left_out) for left_out in range(ladders)])
        error = ((ladders - 1) * (rest - rest.mean(0)).square().mean(0)).sqrt()
        return Estimate(_plain(value), _plain(error))

    def average(self, statistic: Callable[[Tensor], Tensor], temperature: float | Sequence[float]) -> Tensor:
        """The value of `estimate` without its error; much faster."""
        return self._average(statistic, temperature)

    def _average(
        self, statistic: Callable[[Tensor], Tensor], temperature: float | Sequence[float], left_out: int | None = None
    ) -> Tensor:
        energies = torch.from_numpy(self.energies)
        mixture = log_mixture(energies + torch.from_numpy(self.bias), self._betas, self._free_energies(left_out))
        if left_out is not None:
            mixture[:, :, left_out] = torch.inf
        found = []
        for kelvin in np.atleast_1d(temperature).tolist():
            logs = -energies / thermal_energy(kelvin) - mixture
            found.append(statistic(torch.softmax(logs.flatten(), 0).view(energies.shape)))
        return torch.stack(found) if isinstance(temperature, Sequence) else found[0]

    def _free_energies(self, left_out: int | None) -> Tensor:
        """Free energies (T,) from all ladders, or without one of them."""
        if left_out not in self._solved:
            total = torch.from_numpy(self.energies + self.bias).transpose(0, 1)  # (T, n, L)
            if left_out is not None:
                total = torch.cat([total[..., :left_out], total[..., left_out + 1 :]], -1)
            initial = None if left_out is None else self._free_energies(None).numpy()
            reduced = self._betas[:, None] * total.flatten()
            self._solved[left_out] = torch.from_numpy(free_energies(reduced.numpy(), initial))
        return self._solved[left_out]

    @cached_property
    def _solved(self) -> dict[int | None, Tensor]:
        return {}

    @property
    def _betas(self) -> Tensor:
        return 1.0 / (GAS_CONSTANT * torch.tensor(self.temperatures, dtype=torch.float64))

    def _index(self, temperature: float) -> int:
        nearest = int(np.abs(np.subtract(self.temperatures, temperature)).argmin())
        if abs(self.temperatures[nearest] - temperature) > 1e-6 * temperature:
            known = ", ".join(f"{t:g}" for t in self.temperatures)
            raise OptionError(f"Expected one of the temperatures {known} K; got {temperature:g} K.")
        return nearest

    def _read(self, name: str, place: int | None = None) -> Tensor:
        ladders = (~self.lost).nonzero().flatten()
        whole = self.frames.read(name, place)[self.part]
        return whole.index_select(1 if place is not None else 2, ladders)


def _plain(x: Tensor) -> Any:
    return x.item() if x.dim() == 0 else x.numpy()
