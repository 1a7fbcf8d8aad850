"""Parallel tempering of many independent ladders at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from boltzflow.simulation.ladders import Ladders
from boltzflow.simulation.tempering_options import Progress, TemperingOptions
from boltzflow.simulation.tempering_result import TemperingResult
from boltzflow.simulation.tempering_run import TemperingRun


class ParallelTempering(Ladders):
    """Langevin dynamics of replicas at several temperatures that swap between neighbours, in independent ladders.

    Swendsen & Wang 1986, DOI 10.1103/PhysRevLett.57.2607; Sugita & Okamoto 1999, DOI 10.1016/S0009-2614(99)01123-9.
    A ladder has one replica at each temperature; ladders never meet, so errors follow from the scatter between them.

    Args:
        dynamics: potential, particles, friction and time step; its temperature is not used.
        temperatures: ascending, in K, two or more.
        ladders: how many.
        bias: an energy to be added while sampling, and taken out again by weights: any differentiable function of
            positions (batch, N, 3) in nm to (batch,) kJ/mol, such as `torsion_umbrella`.
        observables: recorded at all temperatures: positions (batch, N, 3) → (batch, K).
        keep: indices of the temperatures whose positions are recorded; all if not given.
        topology: for trajectories.

    Raises:
        OptionError: if temperatures do not ascend, or there is no ladder.

    >>> import torch
    >>> import boltzflow as bf
    >>> from boltzflow.simulation import Langevin
    >>> system = bf.load_system("alanine_dipeptide")
    >>> dynamics = Langevin.of(system, system.potential("torch", compile=False), compile=False)
    >>> sampler = ParallelTempering(dynamics, [300.0, 400.0], ladders=2, topology=system.mdtraj_topology)
    >>> options = TemperingOptions(picoseconds=0.02, equilibration=0.0, swap_every=0.005, record_every=0.01)
    >>> sampler.run(torch.tensor(system.positions), options).ensemble(300.0).positions.shape
    (4, 22, 3)
    """

    def run(
        self,
        positions: Tensor,
        options: TemperingOptions | None = None,
        *,
        directory: str | Path | None = None,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> TemperingResult:
        """Sample.

        Args:
            positions: where to begin, (N, 3) or (T·L, N, 3) in nm; their dtype and device are those of the run.
            options: times and seed.
            directory: for checkpoints and frames; None keeps all in memory. Ctrl-C leaves a checkpoint there.
            resume: go on from the directory's checkpoint, if there is one, perhaps to a later end; the numbers are
                those of an uninterrupted run.
            progress: called after each round of swaps.

        Raises:
            ShapeError: if the positions do not fit.
            RunDirectoryError: if the directory already holds a run and `resume` is False.
            FileFormatError: if the checkpoint is damaged, or of a run with other settings.
            NonFiniteError: if every ladder has exploded.
        """
        run = TemperingRun(self, options or TemperingOptions(), None if directory is None else Path(directory))
        run.begin(positions, resume)
        run.go(progress)
        return run.result()
