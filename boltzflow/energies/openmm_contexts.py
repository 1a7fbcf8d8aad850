"""OpenMM Contexts, one frame at a time. Workers import this file, so it does not import torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import openmm
import openmm.unit as u

from boltzflow.arrays import Array
from boltzflow.energies.system_xml import load_system_xml, system_to_xml
from boltzflow.energies.workers import Answer
from boltzflow.errors import EvaluationError

_ENERGY = u.kilojoule_per_mole
_FORCE = u.kilojoule_per_mole / u.nanometer


@dataclass(frozen=True)
class ContextRecipe:
    """The data from which a Context is created. It is immutable, so that copies may share it."""

    system: openmm.System
    platform: str | None
    properties: dict[str, str]

    def build(self) -> ContextEvaluator:
        return ContextEvaluator(self.context)

    def context(self) -> openmm.Context:
        """A new Context.

        Raises:
            EvaluationError: if OpenMM cannot create one.
        """
        integrator = openmm.VerletIntegrator(0.001)
        try:
            if self.platform is None:
                return openmm.Context(self.system, integrator)
            platform = openmm.Platform.getPlatformByName(self.platform)
            return openmm.Context(self.system, integrator, platform, self.properties)
        except openmm.OpenMMException as error:
            raise EvaluationError(f"OpenMM cannot create a Context for this System: {error}") from error

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., ContextRecipe], tuple[object, ...]]:
        return _read_recipe, (system_to_xml(self.system), self.platform, self.properties)


def _read_recipe(xml: str, platform: str | None, properties: dict[str, str]) -> ContextRecipe:
    return ContextRecipe(load_system_xml(xml), platform, properties)


class ContextEvaluator:
    """Evaluates frames in one Context, and creates another if it stops working.

    Args:
        make: returns a new Context.
    """

    def __init__(self, make: Callable[[], openmm.Context]) -> None:
        self._make = make
        self._owner = os.getpid()
        self._context = make()
        system = self._context.getSystem()
        self._sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
        self._good: Array | None = None
        """A frame that was evaluated successfully."""

    def __call__(self, frames: Array, forces: bool) -> Answer:
        """See `Evaluator`."""
        energies, gradients = np.full(len(frames), np.nan), np.zeros_like(frames) if forces else None
        for i in np.flatnonzero(np.isfinite(frames).all(axis=(1, 2))):
            try:
                state = self._state(frames[i], forces)
            except openmm.OpenMMException as error:
                state = self._try_again(frames[i], forces, error)
            if state is None:
                continue
            if self._good is None:
                self._good = frames[i].copy()
            energies[i] = state.getPotentialEnergy().value_in_unit(_ENERGY)
            if gradients is not None:
                gradients[i] = state.getForces(asNumpy=True).value_in_unit(_FORCE)
        if gradients is not None:
            gradients[:, self._sites] = 0.0
        return energies, gradients

    def __del__(self) -> None:
        # A forked process has its parent's Contexts but not their threads: deleting a Context would wait forever.
        if os.getpid() != self._owner:
            self._context.thisown = False

    def _state(self, frame: Array, forces: bool) -> openmm.State | None:
        self._context.setPositions(frame)
        if self._sites:
            self._context.computeVirtualSites()
        return self._context.getState(getEnergy=True, getForces=forces)

    def _try_again(self, frame: Array, forces: bool, error: openmm.OpenMMException) -> openmm.State | None:
        """After an exception: None if the frame is the cause, else the result from a new Context.

        Raises:
            EvaluationError: if the frame is not the cause, and a new Context fails too.
        """
        if "is nan" in str(error).lower() or self._works():
            return None
        self._context = self._make()
        try:
            return self._state(frame, forces)
        except openmm.OpenMMException as again:
            if self._good is None:
                raise EvaluationError(f"OpenMM failed on the first frame in two Contexts: {again}") from again
            if not self._works():
                raise EvaluationError(f"OpenMM failed on a frame that worked before: {again}") from again
            return None

    def _works(self) -> bool:
        """Whether the Context still evaluates a frame that worked before."""
        if self._good is None:
            return False
        try:
            self._state(self._good, False)
        except openmm.OpenMMException:
            return False
        return True
