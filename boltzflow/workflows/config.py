"""The settings of a run, as `config.yaml` keeps them."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from boltzflow.documents import Document
from boltzflow.molecules.parametrize import Constraints
from boltzflow.presets import PresetName, settings
from boltzflow.training.options import Optimizer, Precision, TrainingOptions


def _within(low: float, high: float, unit: str = "", zero: bool = False) -> AfterValidator:
    """Numbers from `low` to `high`, or 0: what lies outside, infinite and NaN too, overflows or does nothing."""

    def check(value: float) -> float:
        if low <= value <= high or (zero and value == 0.0):
            return value
        raise ValueError(f"expected {'0 or ' if zero else ''}a number from {low:g} to {high:g} {unit}".rstrip())

    return AfterValidator(check)


SEEDS = 2**64
"""So many seeds PyTorch knows."""

Count = Annotated[int, Field(gt=0, lt=2**63)]
CountOrNone = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Temperature = Annotated[float, _within(1.0, 1e5, "K")]
Time = Annotated[float, _within(1e-3, 1e9, "ps")]
TimeOrNone = Annotated[float, _within(1e-3, 1e9, "ps", zero=True)]


class SystemConfig(Document):
    """Which molecule.

    Attributes:
        system: a name of the library, or the path of a PDB file.
        forcefield: OpenMM force-field files, for a PDB file; empty for a system of the library.
        constraints: for a PDB file.
        temperature: in K; None takes the system's own (300 K for a PDB file).
    """

    system: str = Field(min_length=1)
    forcefield: tuple[str, ...] = ()
    constraints: Constraints = "none"
    temperature: Temperature | None = None


class RunConfig(SystemConfig):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    Attributes:
        preset: what is meant where steps, batch_size, optimizer, precision, patience, layers or hidden is None.
        method: of training.
        data: directory of an ensemble, for the method "forward_kl".
        steps, batch_size, optimizer, learning_rate, ema, precision, patience: of training, see `TrainingOptions`.
        tensorboard: whether TensorBoard's files are written.
        accelerator, devices: on what, and on how many of it, one process each.
        layers, hidden, bins: size of the flow.
        temperatures: lowest and highest in K, for one flow for a range of them; None for the one of `temperature`.
        samples: number of structures drawn in the end.
        check_picoseconds: of the simulation that looks for lost basins then (`analysis.check_collapse`); 0 for none.
        seed: of everything.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).completed(60).hidden
    (128, 128)
    """

    preset: PresetName = "standard"
    method: str = "reverse_then_forward"
    data: str | None = None
    steps: Count | None = None
    batch_size: Count | None = None
    optimizer: Optimizer | None = None
    learning_rate: Annotated[float, _within(1e-10, 100.0)] | None = None
    ema: Annotated[float, _within(1e-6, 1.0 - 1e-9, zero=True)] = 0.0
    precision: Precision | None = None
    patience: CountOrNone | None = None
    tensorboard: bool = False
    accelerator: Literal["cpu", "cuda"] = "cpu"
    devices: Count = 1
    layers: Count | None = None
    hidden: tuple[Count, ...] | None = Field(None, min_length=1)
    bins: Count = 8
    temperatures: tuple[Temperature, Temperature] | None = None
    samples: Count = 100_000
    check_picoseconds: TimeOrNone = 20.0
    seed: Seed = 0

    def completed(self, coordinates: int) -> CompleteRunConfig:
        """With what the preset says wherever nothing was asked for, for a flow of so many coordinates."""
        asked = self.model_dump(exclude_none=True)
        chosen = settings(
            self.preset, coordinates, self.accelerator, self.devices, self.steps, self.batch_size, self.precision
        )
        if self.temperatures is not None:  # the ESS of steps at several temperatures says too little for an end
            chosen["patience"] = 0
        return CompleteRunConfig.of(**(chosen | asked))


class CompleteRunConfig(RunConfig):
    """A `RunConfig` that leaves nothing to the preset."""

    steps: Count
    batch_size: Count
    optimizer: Optimizer
    precision: Precision
    patience: CountOrNone
    layers: Count
    hidden: tuple[Count, ...] = Field(min_length=1)

    @property
    def training_options(self) -> TrainingOptions:
        """What the trainer is given."""
        return TrainingOptions(
            **{f.name: getattr(self, f.name) for f in fields(TrainingOptions) if hasattr(self, f.name)}
        )


class ReferenceConfig(SystemConfig):
    """Everything that `boltzflow reference` needs; written into its directory and read by `--resume`.

    Attributes:
        picoseconds: recorded time of each replica.
        equilibration: ps before that; in its first half all replicas are at the hottest temperature.
        ladders: independent ones, from whose scatter errors follow.
        temperatures: of a ladder, geometric from the system's to `hottest`.
        hottest: in K.
        umbrella: depth in kJ/mol of a bias that holds the basin of each φ at about 1 rad populated; 0 for none.
        timestep: in ps; None takes 0.001, and 0.002 where there are constraints.
        hydrogen_mass: in dalton, taken from the atoms that hydrogens are bonded to; None leaves masses as they are.
        friction: in 1/ps.
        seed: of everything.

    >>> ReferenceConfig.of(system="alanine_dipeptide", umbrella=13.0).ladders
    64
    """

    picoseconds: Time = 200.0
    equilibration: TimeOrNone = 50.0
    ladders: int = Field(64, ge=2, lt=2**63)
    temperatures: int = Field(8, ge=2, lt=2**63)
    hottest: Temperature = 1200.0
    umbrella: Annotated[float, _within(1e-3, 1e4, "kJ/mol", zero=True)] = 0.0
    timestep: Annotated[float, _within(1e-5, 0.1, "ps")] | None = None
    hydrogen_mass: Annotated[float, _within(0.1, 100.0, "dalton")] | None = None
    friction: Annotated[float, _within(1e-3, 1e5, "1/ps")] = 2.0
    seed: Seed = 0
