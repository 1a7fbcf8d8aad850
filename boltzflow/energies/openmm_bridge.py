"""Energies and forces of any ``openmm.System`` from OpenMM itself."""

from __future__ import annotations

import html
import multiprocessing
import weakref
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import openmm
import openmm.unit as u
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.energies.potential import Potential
from boltzflow.errors import OptionError, UnsupportedForceError

Array = NDArray[np.float64]


class OpenMMPotential(Potential):
    """Energies and forces of any ``openmm.System`` through persistent Contexts; a frame that fails is +inf.

    With `workers`, frames are shared among that many processes (started by ``spawn`` at the first call, one
    thread each). `close`, leaving a ``with`` block, or the end of the program stops them; a later call starts
    them again. A script that uses workers needs the usual ``if __name__ == "__main__":``.

    Args:
        system: the System; it is copied, never changed.
        platform: name of the OpenMM platform; None leaves the choice to OpenMM (with workers: CPU).
        precision: "single", "mixed" or "double", for platforms that have the choice.
        workers: number of processes; 0 evaluates in this one.
        threads: threads of the CPU platform in each process; None is OpenMM's default (with workers: 1).

    Attributes:
        failed: how many frames could not be evaluated so far.

    Raises:
        OptionError: if the platform is not available, or has no such precision or threads.
        UnsupportedForceError: if the System holds a PythonForce.

    >>> system = openmm.System()
    >>> _ = [system.addParticle(1.0) for _ in range(2)]
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0), system.addForce(bond)
    >>> with OpenMMPotential(system, platform="Reference") as potential:
    ...     potential.energy(torch.tensor([[[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]])).round(decimals=3)
    tensor([5.])
    """

    def __init__(
        self,
        system: openmm.System,
        platform: str | None = None,
        precision: str | None = None,
        workers: int = 0,
        threads: int | None = None,
    ) -> None:
        super().__init__(system.getNumParticles())
        if workers < 0 or (threads is not None and threads < 1):
            raise OptionError(f"Expected workers ≥ 0 and threads ≥ 1; got workers={workers}, threads={threads}.")
        if workers:
            platform = platform or "CPU"
            threads = threads or (1 if platform == "CPU" else None)
        self.workers = workers
        self.failed = 0
        xml = openmm.XmlSerializer.serialize(system)
        self._recipe = _ContextRecipe(xml, platform, _properties(platform, precision, threads))
        refuse_python_force(xml)
        self._context: openmm.Context | None = None
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """Stops the workers and frees the Context."""
        if self._pool is not None:
            self._stop_pool()
        self._pool = self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(positions, forces=True)

    def _energy(self, positions: Tensor) -> Tensor:
        return self._evaluate(positions, forces=False)[0]

    def _evaluate(self, positions: Tensor, forces: bool) -> tuple[Tensor, Tensor]:
        frames = positions.to(device="cpu", dtype=torch.float64).numpy()
        if self.workers:
            # A few parts a worker, so that none waits long for the slowest.
            parts = np.array_split(frames, max(1, min(len(frames), 4 * self.workers)))
            results = list(self._workers().map(_evaluate_in_worker, parts, [forces] * len(parts)))
        else:
            self._context = self._context or self._recipe.build()
            results = [_evaluate(self._context, frames, forces)]
        energy = torch.from_numpy(np.concatenate([e for e, _ in results])).to(positions)
        self.failed += int((~torch.isfinite(energy)).sum())
        return energy, torch.from_numpy(np.concatenate([f for _, f in results])).to(positions)

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._recipe,),
            )
            self._stop_pool = weakref.finalize(self, self._pool.shutdown)
        return self._pool

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_context": None, "_pool": None}
        state.pop("_stop_pool", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse_python_force(state["_recipe"].xml)
        self.__dict__.update(state)


@dataclass(frozen=True)
class _ContextRecipe:
    """What a Context is built from; plain data, so that it can be sent to another process."""

    xml: str
    platform: str | None
    properties: dict[str, str]

    def build(self) -> openmm.Context:
        system = load_system_xml(self.xml)
        integrator = openmm.VerletIntegrator(0.001)
        if self.platform is None:
            return openmm.Context(system, integrator)
        platform = openmm.Platform.getPlatformByName(self.platform)
        return openmm.Context(system, integrator, platform, self.properties)


def load_system_xml(xml: str) -> openmm.System:
    """The System written in `xml`, which is refused before it is parsed if it could execute code.

    Raises:
        UnsupportedForceError: if it names a PythonForce.
    """
    refuse_python_force(xml)
    return openmm.XmlSerializer.deserialize(xml)


def refuse_python_force(xml: str) -> None:
    """Raises UnsupportedForceError if the text names a PythonForce: loading one unpickles, so executes, code."""
    if "PythonForce" in html.unescape(xml):
        raise UnsupportedForceError("The System holds a PythonForce, whose XML executes code when it is loaded.")


def _properties(platform: str | None, precision: str | None, threads: int | None) -> dict[str, str]:
    """The platform's properties; raises OptionError where platform and options do not go together."""
    asked = {"Precision": precision, "Threads": None if threads is None else str(threads)}
    chosen = {name: value for name, value in asked.items() if value is not None}
    if platform is None:
        if chosen:
            raise OptionError(f"Expected a platform together with {' and '.join(chosen).lower()}; got none.")
        return {}
    available = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if platform not in available:
        raise OptionError(f"OpenMM has no platform {platform!r} here; available: {', '.join(available)}.")
    known = openmm.Platform.getPlatformByName(platform).getPropertyNames()
    for name in chosen:
        if name not in known:
            raise OptionError(f"The platform {platform} has no choice of {name.lower()}.")
    if precision not in (None, "single", "mixed", "double"):
        raise OptionError(f"Expected the precision 'single', 'mixed' or 'double'; got {precision!r}.")
    return chosen


def _evaluate(context: openmm.Context, frames: Array, forces: bool) -> tuple[Array, Array]:
    """Energies (n,) and forces (n, N, 3), zero where not asked for; a frame that OpenMM refuses is NaN."""
    energies, gradients = np.full(len(frames), np.nan), np.zeros_like(frames)
    for i, frame in enumerate(frames):
        try:
            context.setPositions(frame)
            context.computeVirtualSites()
            state = context.getState(getEnergy=True, getForces=forces)
        except openmm.OpenMMException:
            continue
        energies[i] = state.getPotentialEnergy().value_in_unit(u.kilojoule_per_mole)
        if forces:
            gradients[i] = state.getForces(asNumpy=True).value_in_unit(u.kilojoule_per_mole / u.nanometer)
    return energies, gradients


_worker_context: openmm.Context | None = None
"""The Context of a worker process; stays None in the main process."""


def _start_worker(recipe: _ContextRecipe) -> None:
    global _worker_context  # the one way for a pool's initializer to leave something behind
    _worker_context = recipe.build()


def _evaluate_in_worker(frames: Array, forces: bool) -> tuple[Array, Array]:
    assert _worker_context is not None
    return _evaluate(_worker_context, frames, forces)
