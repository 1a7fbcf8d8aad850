"""Energies and forces of any ``openmm.System`` from OpenMM itself."""

from __future__ import annotations

import openmm

from boltzflow.energies.framewise import FramewisePotential
from boltzflow.energies.openmm_contexts import ContextRecipe
from boltzflow.energies.system_xml import copy_system, holds_python
from boltzflow.errors import OptionError, UnsupportedForceError


class OpenMMPotential(FramewisePotential):
    """Energies and forces of any ``openmm.System`` from persistent Contexts; a frame that fails has the energy +inf.

    A frame fails if a position, its energy or a force is not finite, or if OpenMM raises an exception for it but still
    evaluates a frame that worked before. If the Context no longer works at all (a lost device), it is re-created, once
    for each such frame; if the new Context fails too, an error is raised. Box vectors are those of the System. OpenMM
    places virtual sites, ignoring their input positions, and forces on them are transferred to their parent atoms.

    Workers: see `FramewisePotential`. Each has one Context, by default on the CPU platform with one thread.

    A System with a PythonForce, as made by openmm-ml, is evaluated in this process only and is not copied. OpenMM
    copies and sends Systems as XML, which contains the force as a pickled function: reading it runs code, and some
    functions cannot be pickled. Do not change such a System while it is in use.

    Args:
        system: the System; it is copied (unless it contains a PythonForce), never changed.
        platform: name of the OpenMM platform; None lets OpenMM choose (with workers: CPU).
        precision: "single", "mixed" or "double", for platforms with this option.
        workers: number of processes; 0 evaluates in this process.
        threads: threads of the CPU platform in each process; None is OpenMM's default (with workers: 1).

    Raises:
        OptionError: if the platform is not available, or has no such precision or threads.
        UnsupportedForceError: if workers are requested for a System with a PythonForce.

    >>> import torch
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
        if threads is not None and threads < 1:
            raise OptionError(f"Expected threads ≥ 1; got {threads}.")
        if workers:
            platform = platform or "CPU"
            threads = threads or (1 if platform == "CPU" else None)
        properties = _properties(platform, precision, threads)
        if workers and holds_python(system):
            raise UnsupportedForceError(
                "Expected a System that workers can evaluate; got one with a PythonForce: use workers=0."
            )
        super().__init__(system.getNumParticles(), ContextRecipe(copy_system(system), platform, properties), workers)


def _properties(platform: str | None, precision: str | None, threads: int | None) -> dict[str, str]:
    """The platform's properties; raises an OptionError if platform and options are incompatible."""
    asked = {"Precision": precision, "Threads": None if threads is None else str(threads)}
    chosen = {name: value for name, value in asked.items() if value is not None}
    if platform is None:
        if chosen:
            raise OptionError(f"Expected a platform together with {' and '.join(chosen).lower()}; got none.")
        return {}
    available = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if platform not in available:
        raise OptionError(f"Expected an available OpenMM platform ({', '.join(available)}); got {platform!r}.")
    known = openmm.Platform.getPlatformByName(platform).getPropertyNames()
    for name in chosen:
        if name not in known:
            raise OptionError(f"Expected no {name.lower()} for the platform {platform}, which has no such option.")
    if precision not in (None, "single", "mixed", "double"):
        raise OptionError(f"Expected precision 'single', 'mixed' or 'double'; got {precision!r}.")
    return chosen
