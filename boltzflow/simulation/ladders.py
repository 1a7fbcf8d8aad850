"""Replicas at several temperatures, in independent ladders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mdtraj
import torch
from torch import Tensor

from boltzflow.errors import OptionError
from boltzflow.simulation.bias import Bias, BiasedPotential
from boltzflow.simulation.exchange import exchange
from boltzflow.simulation.langevin import Langevin, State, batch_first, batch_last
from boltzflow.units import GAS_CONSTANT, Temperature, checked_temperature


class Ladders:
    """Replicas at several temperatures, in independent ladders; for arguments and errors see `ParallelTempering`."""

    def __init__(
        self,
        dynamics: Langevin,
        temperatures: Sequence[Temperature],
        ladders: int,
        *,
        bias: Bias | None = None,
        observables: Callable[[Tensor], Tensor] | None = None,
        keep: Sequence[int] | None = None,
        topology: mdtraj.Topology | None = None,
    ) -> None:
        self.temperatures = tuple(checked_temperature(t) for t in temperatures)
        if len(self.temperatures) < 2 or list(self.temperatures) != sorted(set(self.temperatures)) or ladders < 1:
            raise OptionError(
                f"Expected two or more ascending temperatures and at least one ladder; got {list(temperatures)} K and "
                f"{ladders}."
            )
        self.ladders = ladders
        self.bias, self.observables, self.topology = bias, observables, topology
        self.kept = tuple(range(len(self.temperatures)) if keep is None else keep)
        if not set(self.kept) <= set(range(len(self.temperatures))):
            raise OptionError(f"Expected indices of {len(self.temperatures)} temperatures to keep; got {self.kept}.")
        if bias is not None:
            dynamics = dynamics.on(BiasedPotential(dynamics.potential, bias))
        slots = torch.tensor(self.temperatures, dtype=torch.float64).repeat_interleave(ladders)
        self.dynamics, self.hot = dynamics.at(slots), dynamics.at(self.temperatures[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of temperatures T and of ladders L; replica t·L + l is at temperature t of ladder l."""
        return len(self.temperatures), self.ladders

    def bias_of(self, positions: Tensor) -> Tensor:
        """The bias energy (batch,) of positions (batch, N, 3), in kJ/mol; zeros without a bias."""
        return positions.new_zeros(len(positions)) if self.bias is None else self.bias(positions)

    def advance(
        self, state: State, steps: int, first: int, random: torch.Generator | None
    ) -> tuple[State, Tensor, Tensor]:
        """Dynamics of all replicas for a number of steps, then one round of swaps (see `exchange`).

        Returns:
            The new state, the temperature from which each replica comes (T, L), and which pairs were swapped.
        """
        state = self.dynamics.run(state, steps, random)
        temperatures, ladders = self.shape
        kelvin = torch.tensor(self.temperatures, dtype=torch.float64, device=state.energies.device)
        energies = torch.where(state.lost, torch.nan, state.energies).view(temperatures, ladders)
        source, swapped = exchange(energies, 1.0 / (GAS_CONSTANT * kelvin), first, random)
        order = (source * ladders + torch.arange(ladders, device=source.device)).flatten()
        scale = (kelvin[:, None] / kelvin[source]).sqrt().flatten().to(state.velocities)
        moved = State(
            _rows(state.positions, order),
            _rows(state.velocities, order) * scale[:, None, None],
            state.energies[order],
            _rows(state.forces, order),
            state.lost[order],
        )
        return moved, source, swapped


def _rows(x: Tensor, order: Tensor) -> Tensor:
    """Replicas in another order; the storage remains batch-last."""
    return batch_first(batch_last(x).index_select(2, order))
