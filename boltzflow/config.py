"""The settings of a run, as `config.yaml` keeps them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from boltzflow.documents import Document
from boltzflow.molecules.parametrize import Constraints
from boltzflow.training.options import Precision


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
    temperature: PositiveFloat | None = None


class RunConfig(SystemConfig):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    Attributes:
        method: of training.
        steps, batch_size, learning_rate, ema, precision, patience: of training, see `TrainingOptions`.
        tensorboard: whether TensorBoard's files are written.
        accelerator, devices: on what, and on how many of it, one process each.
        layers, hidden, bins: size of the flow.
        samples: number of structures drawn in the end.
        check_picoseconds: of the simulation that looks for lost basins then (`analysis.check_collapse`); 0 for none.
        seed: of everything.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).hidden
    (256, 256)
    """

    method: str = "reverse_kl"
    steps: PositiveInt = 20_000
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 1e-3
    ema: float = Field(0.0, ge=0.0, lt=1.0)
    precision: Precision = "float32"
    patience: NonNegativeInt = 0
    tensorboard: bool = False
    accelerator: Literal["cpu", "cuda"] = "cpu"
    devices: PositiveInt = 1
    layers: PositiveInt = 12
    hidden: tuple[PositiveInt, ...] = Field((256, 256), min_length=1)
    bins: PositiveInt = 8
    samples: PositiveInt = 100_000
    check_picoseconds: NonNegativeFloat = 20.0
    seed: NonNegativeInt = 0


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

    picoseconds: PositiveFloat = 200.0
    equilibration: NonNegativeFloat = 50.0
    ladders: int = Field(64, ge=2)
    temperatures: int = Field(8, ge=2)
    hottest: PositiveFloat = 1200.0
    umbrella: NonNegativeFloat = 0.0
    timestep: PositiveFloat | None = None
    hydrogen_mass: PositiveFloat | None = None
    friction: PositiveFloat = 2.0
    seed: NonNegativeInt = 0
