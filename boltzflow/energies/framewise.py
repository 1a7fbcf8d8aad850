"""Potentials from programs that evaluate one frame at a time: in this process, or in worker processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from boltzflow.arrays import Array
from boltzflow.energies.potential import Potential
from boltzflow.energies.workers import Answer, Evaluator, Recipe, WorkerPool
from boltzflow.errors import OptionError

_PART = 512
"""Frames evaluated at a time: limits memory, and is enough work to make communication with workers negligible."""


class FramewisePotential(Potential):
    """Base class of potentials whose frames are evaluated one by one; a frame that fails has the energy +inf.

    With `workers`, frames are distributed over that many processes, which start at the first call. `close`, the end
    of a ``with`` block, or the end of the program stops them; a later call starts them again. If a worker crashes,
    its frames are evaluated again. A frame that crashes workers repeatedly gets the energy +inf, with a warning. A
    script that uses workers needs ``if __name__ == "__main__":``.

    Args:
        n_atoms: number of atoms.
        recipe: creates the evaluator, in this process or in each worker.
        workers: number of processes; 0 evaluates in this process.

    Raises:
        OptionError: if the number of workers is negative.
    """

    def __init__(self, n_atoms: int, recipe: Recipe, workers: int = 0) -> None:
        super().__init__(n_atoms)
        if workers < 0:
            raise OptionError(f"Expected workers ≥ 0; got {workers}.")
        self.workers = workers
        self._recipe = recipe
        self._forget()

    def close(self) -> None:
        """Stops the workers and frees the evaluator."""
        if self._pool is not None:
            self._pool.close()
        self._forget()

    def _forget(self) -> None:
        self._pool: WorkerPool | None = None
        self._evaluator: Evaluator | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        forces = torch.zeros_like(positions)
        return self._evaluate(positions, forces), forces

    def _evaluate(self, positions: Tensor, forces: Tensor | None) -> Tensor:
        """Energies (batch,); forces are written into `forces`."""
        energy = positions.new_empty(len(positions))

        def frames(part: range) -> Array:
            return positions[part.start : part.stop].to(device="cpu", dtype=torch.float64).numpy()

        if os.getpid() != self._process:
            self._forget()
        with self._lock, closing(self._answers(len(positions), frames, forces is not None)) as answers:
            for part, (energies, gradients) in answers:
                energy[part.start : part.stop] = torch.from_numpy(energies)
                if forces is not None:
                    forces[part.start : part.stop] = torch.from_numpy(gradients)
        return energy

    def _answers(
        self, n: int, frames: Callable[[range], Array], forces: bool
    ) -> Generator[tuple[range, Answer], None, None]:
        size = min(_PART, max(1, n // (4 * self.workers))) if self.workers else _PART  # 4 per worker balance the load
        parts = [range(start, min(start + size, n)) for start in range(0, n, size)]
        if self.workers:
            if self._pool is None or not self._pool.usable:
                self._pool = WorkerPool(self._recipe, self.workers)
            yield from self._pool.evaluate(parts, frames, forces)
            return
        self._evaluator = self._evaluator or self._recipe.build()
        for part in parts:
            yield part, self._evaluator(frames(part), forces)

    def __getstate__(self) -> dict[str, Any]:
        mine = ("_pool", "_evaluator", "_process", "_lock")  # belong to this process
        return {name: value for name, value in self.__dict__.items() if name not in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._forget()
