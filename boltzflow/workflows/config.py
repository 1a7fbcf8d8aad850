"""The settings of a run, as `config.yaml` keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from boltzflow.architecture import Architecture
from boltzflow.documents import Document
from boltzflow.molecules.parametrize import Constraints
from boltzflow.presets import DEFAULT, PresetName, flow_settings, training_settings
from boltzflow.settings import Count, Kelvin, Seed, Time, TimeOrNone, within
from boltzflow.training.methods import METHODS
from boltzflow.training.options import TrainingOptions

FORWARD_KL = "forward_kl"
"""The method that learns from data, and needs them."""

PDB_FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
"""The force field of a PDB file, where none is given."""

Place = Annotated[str, AfterValidator(lambda path: str(Path(path).resolve()))]


class SystemConfig(Document):
    """Which molecule."""

    heading: ClassVar[str] = "Molecule"

    system: str = Field(min_length=1)
    """A system's name, or a PDB file with all hydrogens."""

    forcefield: tuple[str, ...] = Field((), json_schema_extra={"default": " ".join(PDB_FORCEFIELD)})
    """OpenMM force-field file, repeatable; for a PDB file."""

    constraints: Constraints = "none"
    """Of bonds and angles, for a PDB file."""

    temperature: Kelvin | None = None
    """In K; the system's own if not given, 300 K for a PDB file."""


class RunConfig(TrainingOptions, Architecture, SystemConfig):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    What a preset chooses is right in what `completed` gives, and a stand-in before.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).completed(60).hidden
    (128, 128)
    """

    heading: ClassVar[str] = "Run"

    preset: PresetName = DEFAULT
    """What is meant where nothing is asked for."""

    method: str = Field(
        "reverse_then_forward",
        description=f"Method of training: {', '.join((*METHODS, FORWARD_KL))}.",
        json_schema_extra={"default": "reverse_then_forward; reverse_kl with stochastic layers"},
    )

    data: Place | None = None
    """Directory of samples for forward_kl, such as a reference."""

    tensorboard: bool = False
    """Write TensorBoard's files too."""

    accelerator: Literal["cpu", "cuda"] = "cpu"
    """Where to train and sample."""

    devices: Count = 1
    """Processes that share each step, one a device; started here unless torchrun or srun did."""

    samples: Count = 100_000
    """Structures to draw when the training is done."""

    check_picoseconds: TimeOrNone = Field(20.0, json_schema_extra={"option": "--check-ps"})
    """Simulation in the end that looks for lost basins, ps; 0 for none."""

    seed: Seed = 0
    """Seed of all random numbers."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_asked_for(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Leave out None, with which older files say that the preset chooses."""
        return {name: value for name, value in values.items() if value is not None}

    def completed(self, coordinates: int) -> Self:
        """With what the preset says wherever nothing was asked for, for a flow of so many coordinates."""
        chosen = training_settings(
            self.preset,
            coordinates,
            self.accelerator,
            self.devices,
            self.given,
            patient=self.temperatures is None,
            path=self.stochastic is not None,
        )
        return type(self).of(**(flow_settings(self.preset, coordinates) | chosen))


class ReferenceConfig(SystemConfig):
    """Everything that `boltzflow reference` needs; written into its directory and read by `--resume`.

    >>> ReferenceConfig.of(system="alanine_dipeptide", umbrella=13.0).ladders
    64
    """

    heading: ClassVar[str] = "Simulation"

    temperature: Kelvin | None = None
    """The lowest, in K; the system's own if not given, 300 K for a PDB file."""

    picoseconds: Time = 200.0
    """Recorded time of each replica."""

    equilibration: TimeOrNone = 50.0
    """Picoseconds before that.

    In its first half all replicas are at the hottest temperature.
    """

    ladders: int = Field(64, ge=2, lt=2**63)
    """Independent ladders, from whose scatter errors follow."""

    temperatures: int = Field(8, ge=2, lt=2**63)
    """Temperatures of a ladder, geometric from the system's to the hottest."""

    hottest: Kelvin = 1200.0
    """The highest of them, in K."""

    umbrella: Annotated[float, within(1e-3, 1e4, "kJ/mol", zero=True)] = 0.0
    """Depth in kJ/mol of a bias towards φ > 0, taken out by weights; 0 for none."""

    timestep: Annotated[float, within(1e-5, 0.1, "ps")] | None = None
    """In ps; 0.001, and 0.002 with constraints, if not given."""

    hydrogen_mass: Annotated[float, within(0.1, 100.0, "dalton")] | None = None
    """In dalton, taken from bonded atoms: 3 allows longer time steps."""

    friction: Annotated[float, within(1e-3, 1e5, "1/ps")] = 2.0
    """In 1/ps."""

    seed: Seed = 0
    """Seed of all random numbers."""
