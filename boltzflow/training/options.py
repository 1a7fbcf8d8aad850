"""How to train, whatever the method."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from boltzflow.core.precision import Precision
from boltzflow.settings import Count, CountOrNone, Seed, Settings, within

Optimizer = Literal["adam", "soap"]
LEARNING_RATES: dict[Optimizer, float] = {"adam": 1e-3, "soap": 3e-3}
"""Peak learning rates that were found good, for alanine dipeptide."""


class TrainingOptions(Settings):
    """How to train, whatever the method.

    The defaults are those of a `DensityModel`. A molecule's generator has those of a preset wherever it says something.
    """

    heading: ClassVar[str] = "Training"

    steps: Count = Field(20_000, json_schema_extra={"default": "by preset"})
    """Gradient steps in all."""

    batch_size: Count = Field(1024, json_schema_extra={"default": "by preset"})
    """Samples in a step."""

    optimizer: Optimizer = Field("adam", json_schema_extra={"default": "by preset"})
    """Adam, or SOAP, which takes fewer steps, each a little longer."""

    learning_rate: Annotated[float, within(1e-10, 100.0)] | None = Field(
        None, json_schema_extra={"option": "--lr", "default": "the optimizer's own"}
    )
    """Peak of the warm-up and cosine schedule.

    None takes the optimiser's own, of `LEARNING_RATES`.
    """

    warmup: CountOrNone = 200
    """Steps of linear warm-up."""

    max_gradient_norm: float = Field(100.0, gt=0)
    """Longer gradients are scaled down to this."""

    seed: Seed = 0
    """Of all random numbers of the training."""

    log_every: Count = 50
    """Steps between two records."""

    checkpoint_every: Count = 500
    """Steps between two checkpoints."""

    max_skipped: Count = 50
    """So many non-finite steps in a row end the training with an error."""

    ema: Annotated[float, within(1e-6, 1.0 - 1e-9, zero=True)] = 0.0
    """Decay of the weights' moving average in a step, such as 0.999; 0 for none.

    In the end the flow carries the average. What is recorded is that of the weights themselves.
    """

    precision: Precision = Field("float32", json_schema_extra={"default": "whichever is faster"})
    """Of the nets' matrix products while training.

    "float32" stands for that of the weights, "bfloat16" is faster where the processor has units for it. All else, and
    sampling afterwards, is as without.
    """

    patience: CountOrNone = Field(0, json_schema_extra={"default": "by preset"})
    """Steps without a rise of the ESS, after which the training is brought to its end; 0 for never.

    Once the ESS at the model's own temperature has stopped rising, that is, its mean over the records of so many steps
    exceeds that over as many steps before by no more than its standard error, the training goes on for so many steps
    more and ends. A learning rate that is still high hides what has been learnt in noise, so it falls to zero over
    these last steps, in proportion to the cosine of `steps`. Warm-up does not count; phases of a method that have not
    begun are left out. Not for a range of temperatures, where the ESS of a step is over several or of any one of them.
    """

    @property
    def peak_learning_rate(self) -> float:
        """The one asked for, or the optimiser's own."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def net_dtype(self) -> torch.dtype | None:
        """Of the nets in a step; None for that of their weights."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @model_validator(mode="after")
    def _sees_two_records(self) -> Self:
        if self.patience and self.patience < 2 * self.log_every:
            raise ValueError(
                f"Expected a patience of 0 or of at least two records, {2 * self.log_every} steps; got {self.patience}"
            )
        return self
