"""Methods of training: which samples, which weights, which objective next. One trainer runs them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from boltzflow.core.objectives import EnergyCap, Loss, reverse_kl
from boltzflow.errors import OptionError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.training.schedules import Annealing


@dataclass(frozen=True)
class Moment:
    """Where a training stands.

    Attributes:
        step: steps done.
        steps: steps in all.
        batch_size: samples in a step.
        random: the source of randomness.
    """

    step: int
    steps: int
    batch_size: int
    random: torch.Generator

    @property
    def progress(self) -> float:
        """The share of the training that is done, from 0 to 1."""
        return self.step / max(1, self.steps - 1)


class Method(ABC):
    """One step of a method gives a loss and the temperature at which it was taken."""

    @abstractmethod
    def temperature(self, generator: BoltzmannGenerator, moment: Moment) -> float:
        """The temperature of this step, in K."""

    @abstractmethod
    def loss(self, generator: BoltzmannGenerator, moment: Moment) -> Loss:
        """The loss of this step; its log-weights are with respect to this step's temperature."""


@dataclass(frozen=True)
class ReverseKL(Method):
    """Reverse KL along a falling temperature (Noé et al. 2019, DOI 10.1126/science.aaw1147).

    Needs no data: one energy evaluation for each sample. The hot start finds the basins, the slow fall keeps
    them; without it reverse KL collapses into one of them.

    Attributes:
        hot_temperature: where it starts, in K; the end is the generator's temperature.
        hot_share, cooling_share: shares of the steps at the hot temperature, and while it falls.
        cap: reduced energy above which the objective grows logarithmically.
        drop_largest: share of the largest terms of a batch that is left out: clashes, whose gradients are noise
            and which reverse KL would avoid by giving up rare basins. Weights are exact whatever it is.
        path_gradient: see `boltzflow.core.objectives.reverse_kl`.
    """

    hot_temperature: float = 1200.0
    hot_share: float = 0.3
    cooling_share: float = 0.4
    cap: float = 1000.0
    drop_largest: float = 0.02
    path_gradient: bool = False

    def temperature(self, generator: BoltzmannGenerator, moment: Moment) -> float:
        target = generator.temperature
        schedule = Annealing(max(self.hot_temperature, target), target, self.hot_share, self.cooling_share)
        return schedule(moment.progress)

    def loss(self, generator: BoltzmannGenerator, moment: Moment) -> Loss:
        return reverse_kl(
            generator.flow,
            generator.internal_target(self.temperature(generator, moment)),
            moment.batch_size,
            generator=moment.random,
            path_gradient=self.path_gradient,
            cap=EnergyCap(self.cap),
            drop_largest=self.drop_largest,
        )


METHODS: dict[str, type[Method]] = {"reverse_kl": ReverseKL}
"""Methods by the name that `train` and the command line know them by."""


def method_named(name: str) -> Method:
    """A method with its default settings.

    Raises:
        OptionError: if there is no such method.
    """
    if name not in METHODS:
        raise OptionError(f"Expected a method out of {', '.join(sorted(METHODS))}; got {name!r}.")
    return METHODS[name]()
