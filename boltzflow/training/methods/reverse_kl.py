"""Reverse KL: samples of the flow, judged by their energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from boltzflow.core.objectives import EnergyCap, Loss, reverse_kl
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.method import Memory, Moment
from boltzflow.training.trainable import Trainable

_SAMPLES_OF_A_TEMPERATURE = 32


@dataclass(frozen=True)
class ReverseKL(CooledMethod):
    """Reverse KL along a falling temperature (Noé et al. 2019, DOI 10.1126/science.aaw1147).

    Needs no data: one energy evaluation for each sample. The hot start finds the basins, the slow fall keeps
    them; without it reverse KL collapses into one of them.

    A flow for a range of temperatures is shown many in each step: as many as divide the batch into runs of at least 32
    samples. `drop_largest` compares a term with the median of its own temperature, for the terms of two temperatures
    differ by their log Z; the recorded effective sample size is the harmonic mean of those of the temperatures.

    The course of temperatures is that of `CooledMethod`.

    Attributes:
        cap: reduced energy above which the objective grows logarithmically.
        drop_largest: share of the largest terms of a batch that is left out: clashes, whose gradients are noise
            and which reverse KL would avoid by giving up rare basins. Weights are exact whatever it is.
        path_gradient: leave the score term out (see `boltzflow.core.objectives.reverse_kl`), which takes alanine
            dipeptide as far in 0.6 of the steps, at the cost of one more pass; not done in flows with stochastic
            layers, where it cannot be.
    """

    cap: float = 1000.0
    drop_largest: float = 0.02
    path_gradient: bool = True

    learns_paths: ClassVar[bool] = True

    def loss(self, model: Trainable, moment: Moment, memory: Memory) -> Loss:
        runs = 1 if model.temperatures is None else _runs(moment.batch_size)
        return reverse_kl(
            model.flow,
            model.internal_target(self.temperature(model, moment)),
            moment.batch_size,
            context=self.context(model, moment, runs),
            generator=moment.random,
            path_gradient=self.path_gradient and not model.flow.transform.stochastic_layers,
            cap=EnergyCap(self.cap),
            drop_largest=self.drop_largest,
            runs=runs,
        )


def _runs(batch_size: int) -> int:
    """Into how many equal runs of enough samples a batch can be cut."""
    numbers = range(1, batch_size // _SAMPLES_OF_A_TEMPERATURE + 1)
    return max((number for number in numbers if batch_size % number == 0), default=1)
