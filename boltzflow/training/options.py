"""How to train, whatever the method."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch

from boltzflow.errors import OptionError

Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["adam", "soap"]
LEARNING_RATES: dict[Optimizer, float] = {"adam": 1e-3, "soap": 3e-3}
"""Peak learning rates that were found good, for alanine dipeptide."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train, whatever the method.

    Attributes:
        steps: gradient steps in all.
        batch_size: samples in a step.
        optimizer: "adam", or "soap" (see `SOAP`), which takes fewer steps, each a little longer.
        learning_rate: peak of the warm-up and cosine schedule; None for the optimiser's own in `LEARNING_RATES`.
        warmup: steps of linear warm-up.
        max_gradient_norm: longer gradients are scaled down to this.
        seed: of all random numbers of the training.
        log_every: steps between two records.
        checkpoint_every: steps between two checkpoints.
        max_skipped: so many non-finite steps in a row end the training with an error.
        ema: decay of the moving average of the weights in a step, such as 0.999; in the end the flow carries the
            average. 0 for none. What is recorded is that of the weights themselves.
        precision: of the nets' matrix products while training: "float32" stands for that of the weights, "bfloat16"
            is faster where the processor has units for it. All else, and sampling afterwards, is as without.
        patience: steps; 0 for off. Once the ESS at the model's own temperature has stopped rising, that is, its mean
            over the records of so many steps exceeds that over as many steps before by no more than its standard
            error, the training goes on for so many steps more and ends. A learning rate that is still high hides
            what has been learnt in noise, so it falls to zero over these last steps, in proportion to the cosine of
            `steps`. Warm-up does not count; phases of a method that have not begun are left out.
            Not for a range of temperatures, where the ESS of a step is over several or of any one of them.
    """

    steps: int = 20_000
    batch_size: int = 1024
    optimizer: Optimizer = "adam"
    learning_rate: float | None = None
    warmup: int = 200
    max_gradient_norm: float = 100.0
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    max_skipped: int = 50
    ema: float = 0.0
    precision: Precision = "float32"
    patience: int = 0

    @property
    def peak_learning_rate(self) -> float:
        """The one asked for, or the optimiser's own."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def net_dtype(self) -> torch.dtype | None:
        """Of the nets in a step; None for that of their weights."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("optimizer", "seed", "warmup", "ema", "precision", "patience") or value is None:
                continue
            if not value > 0:
                raise OptionError(f"Expected a positive {name}; got {value:g}.")
        if not 0.0 <= self.ema < 1.0:
            raise OptionError(f"Expected ema, a decay in a step, from 0 to below 1; got {self.ema:g}.")
        for name, known in (("optimizer", get_args(Optimizer)), ("precision", get_args(Precision))):
            if getattr(self, name) not in known:
                raise OptionError(f"Expected {name} {' or '.join(known)}; got {getattr(self, name)!r}.")
        if self.patience and self.patience < 2 * self.log_every:
            raise OptionError(
                f"Expected a patience of 0 or of at least two records, {2 * self.log_every} steps; got {self.patience}."
            )
