"""Options that all training methods share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from boltzflow.core.precision import Precision
from boltzflow.settings import Count, CountOrNone, Seed, Settings, within

Optimizer = Literal["adam", "soap"]
LEARNING_RATES: dict[Optimizer, float] = {"adam": 1e-3, "soap": 3e-3}
"""Peak learning rates that worked well for alanine dipeptide."""


class TrainingOptions(Settings):
    """Options that all training methods share.

    The defaults are those of a `DensityModel`. For a molecule's generator, unset options are filled from the preset.
    """

    heading: ClassVar[str] = "Training"

    steps: Count = Field(20_000, json_schema_extra={"default": "by preset"})
    """Total number of gradient steps."""

    batch_size: Count = Field(1024, json_schema_extra={"default": "by preset"})
    """Number of samples in a step."""

    optimizer: Optimizer = Field("adam", json_schema_extra={"default": "by preset"})
    """Adam, or SOAP, which needs fewer but slightly longer steps."""

    learning_rate: Annotated[float, within(1e-10, 100.0)] | None = Field(
        None, json_schema_extra={"option": "--lr", "default": "the optimizer's own"}
    )
    """Peak learning rate of the warm-up and cosine schedule.

    None takes the optimizer's own from `LEARNING_RATES`.
    """

    warmup: CountOrNone = 200
    """Number of steps of linear warm-up."""

    max_gradient_norm: float = Field(100.0, gt=0)
    """Gradients with a larger norm are scaled down to this."""

    seed: Seed = 0
    """Seed of all random numbers of the training."""

    log_every: Count = 50
    """Number of steps between two records."""

    checkpoint_every: Count = 500
    """Number of steps between two checkpoints."""

    max_skipped: Count = 50
    """The training ends with an error after this many consecutive non-finite steps."""

    ema: Annotated[float, within(1e-6, 1.0 - 1e-9, zero=True)] = 0.0
    """Decay per step of the weights' moving average, such as 0.999; 0 for none.

    The trained flow has the averaged weights. The records refer to the weights themselves.
    """

    precision: Precision = Field("float32", json_schema_extra={"default": "whichever is faster"})
    """Precision of the conditioner networks' matrix products during training.

    "float32" uses the precision of the weights. "bfloat16" is faster on processors with units for it. Everything else,
    sampling included, keeps the precision of the weights.
    """

    patience: CountOrNone = Field(0, json_schema_extra={"default": "by preset"})
    """Number of steps without a rise of the ESS after which the training ends early; 0 for never.

    The ESS at the model's own temperature has stopped rising if its mean over the records of this many steps exceeds
    the mean over as many steps before by no more than its standard error. The training then continues for this many
    steps while the learning rate falls to zero, in proportion to the cosine schedule of `steps`: at a high learning
    rate noise hides what has been learned. Warm-up does not count. Phases of a method that have not begun are skipped.
    Not available for a range of temperatures, where a step's ESS is not that of one temperature.
    """

    @property
    def peak_learning_rate(self) -> float:
        """The given learning rate, or the optimizer's own."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def net_dtype(self) -> torch.dtype | None:
        """The dtype of the networks in a step; None for the dtype of their weights."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @model_validator(mode="after")
    def _sees_two_records(self) -> Self:
        if self.patience and self.patience < 2 * self.log_every:
            raise ValueError(
                f"Expected a patience of 0 or of at least two records, {2 * self.log_every} steps; got {self.patience}"
            )
        return self
