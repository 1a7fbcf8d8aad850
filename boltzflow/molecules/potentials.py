"""The potential energy of a System, by one of the backends."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import openmm

from boltzflow.energies import OpenMMPotential, Potential, TorchPotential
from boltzflow.errors import OptionError, UnsupportedForceError

Backend = Literal["auto", "torch", "openmm"]


def potential_of(system: openmm.System, backend: Backend, options: Mapping[str, Any]) -> Potential:
    """See `MolecularSystem.potential`."""
    if backend == "openmm":
        return OpenMMPotential(system, **options)
    if backend == "torch":
        return TorchPotential(system, **options)
    if backend != "auto":
        raise OptionError(f"Expected backend 'auto', 'torch' or 'openmm'; got {backend!r}.")
    if options:
        raise OptionError(f"Expected backend 'torch' or 'openmm' for the options {', '.join(options)}; got 'auto'.")
    try:
        return TorchPotential(system)
    except UnsupportedForceError as error:
        warnings.warn(f"OpenMM computes the energies frame by frame, which is slower: {error}", stacklevel=3)
        return OpenMMPotential(system)


def eager_potential(system: openmm.System) -> Potential:
    """A potential for a few evaluations: the native one, not compiled, or OpenMM's if a force has no translation.

    The native one computes in the precision of its input; OpenMM uses the Reference platform.
    """
    try:
        return TorchPotential(system, compile=False)
    except UnsupportedForceError:
        return OpenMMPotential(system, platform="Reference")
