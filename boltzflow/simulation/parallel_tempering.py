"""Parallel tempering with many independent ladders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from boltzflow.simulation.ladders import Ladders
from boltzflow.simulation.tempering_options import Progress, TemperingOptions
from boltzflow.simulation.tempering_result import TemperingResult
from boltzflow.simulation.tempering_run import TemperingRun


class ParallelTempering(Ladders):
    """Langevin dynamics of replicas at several temperatures, with swaps between neighbours, in independent ladders.

    Swendsen & Wang 1986, DOI 10.1103/PhysRevLett.57.2607; Sugita & Okamoto 1999, DOI 10.1016/S0009-2614(99)01123-9.
    A ladder has one replica at each temperature. Ladders do not interact, so errors are estimated from the scatter
    between them.

    Args:
        dynamics: potential, particles, friction and time step; its temperature is not used.
        temperatures: two or more, ascending, in K.
        ladders: the number of ladders.
        bias: an energy that is added during sampling and removed by reweighting: any differentiable function of
            positions (batch, N, 3) in nm to (batch,) kJ/mol, such as `torsion_umbrella`.
        observables: a function that is recorded at all temperatures: positions (batch, N, 3) → (batch, K).
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
        """Run parallel tempering.

        Args:
            positions: initial positions, (N, 3) or (T·L, N, 3) in nm; they set the dtype and the device of the run.
            options: times and seed.
            directory: for checkpoints and frames; None keeps all in memory. Ctrl-C saves a checkpoint there.
            resume: continue from the directory's checkpoint, if there is one; the run may be extended. The results are
                those of an uninterrupted run.
            progress: called after each round of swaps.

        Raises:
            ShapeError: if the positions do not fit.
            RunDirectoryError: if the directory already contains a run and `resume` is False.
            FileFormatError: if the checkpoint is damaged, or from a run with other settings.
            NonFiniteError: if every ladder has become unstable.
        """
        run = TemperingRun(self, options or TemperingOptions(), None if directory is None else Path(directory))
        run.begin(positions, resume)
        run.go(progress)
        return run.result()
