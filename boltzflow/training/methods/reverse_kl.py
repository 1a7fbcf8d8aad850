"""Reverse KL on samples of the flow and their energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from boltzflow.core.objectives import EnergyCap, Loss, reverse_kl
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.method import Memory, StepInfo
from boltzflow.training.trainable import Trainable

_SAMPLES_OF_A_TEMPERATURE = 32


@dataclass(frozen=True)
class ReverseKL(CooledMethod):
    """Reverse KL with a falling temperature (Noé et al. 2019, DOI 10.1126/science.aaw1147).

    It needs no data, and one energy evaluation per sample. High temperatures find the basins, and slow cooling keeps
    them; without it reverse KL collapses into one of them.

    A flow for a temperature range is trained at many temperatures in each step: as many as divide the batch into runs
    of at least 32 samples. `drop_largest` compares a term with the median at its own temperature, since terms at two
    temperatures differ by log Z. The recorded effective sample size is the harmonic mean over the temperatures.

    The temperature follows `CooledMethod`.

    Attributes:
        cap: reduced energy above which the objective grows logarithmically.
        drop_largest: fraction of the largest terms of a batch that are left out. These are clashes, whose gradients are
            noise, and which reverse KL would avoid by giving up rare basins. It does not affect the exactness of
            weights.
        path_gradient: omit the score term (see `boltzflow.core.objectives.reverse_kl`). For alanine dipeptide this
            reaches the same result in 0.6 of the steps, at the cost of one more pass. It has no effect on flows with
            stochastic layers, for which it is not possible.
    """

    cap: float = 1000.0
    drop_largest: float = 0.02
    path_gradient: bool = True

    learns_paths: ClassVar[bool] = True

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        runs = 1 if model.temperatures is None else _runs(info.batch_size)
        return reverse_kl(
            model.flow,
            model.internal_target(self.temperature(model, info)),
            info.batch_size,
            context=self.context(model, info, runs),
            generator=info.random,
            path_gradient=self.path_gradient and not model.flow.transform.stochastic_layers,
            cap=EnergyCap(self.cap),
            drop_largest=self.drop_largest,
            runs=runs,
        )


def _runs(batch_size: int) -> int:
    """The largest number of equal runs with enough samples into which a batch can be divided."""
    numbers = range(1, batch_size // _SAMPLES_OF_A_TEMPERATURE + 1)
    return max((number for number in numbers if batch_size % number == 0), default=1)
