"""The settings of a run, as written to `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from boltzflow.architecture import Architecture
from boltzflow.documents import Document
from boltzflow.molecules.parametrize import Constraints
from boltzflow.presets import DEFAULT, PresetName, flow_settings, training_settings
from boltzflow.settings import Count, Kelvin, Seed, Time, TimeOrNone, within
from boltzflow.training.methods import FORWARD_KL, METHODS
from boltzflow.training.options import TrainingOptions

PDB_FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
"""The default force field of PDB files."""

Place = Annotated[str, AfterValidator(lambda path: str(Path(path).resolve()))]


class SystemConfig(Document):
    """Which molecule."""

    heading: ClassVar[str] = "Molecule"

    system: str = Field(min_length=1)
    """A system's name, or a PDB file with all hydrogens."""

    forcefield: tuple[str, ...] = Field((), json_schema_extra={"default": " ".join(PDB_FORCEFIELD)})
    """OpenMM force-field file for a PDB file; may be repeated."""

    constraints: Constraints = "none"
    """Constraints of bonds and angles, for a PDB file."""

    temperature: Kelvin | None = None
    """Temperature in K; if not given the system's own, or 300 K for a PDB file."""


class RunConfig(TrainingOptions, Architecture, SystemConfig):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    `completed` fills unset options from the preset; before that they hold placeholders.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).completed(60).hidden
    (128, 128)
    """

    heading: ClassVar[str] = "Run"

    preset: PresetName = DEFAULT
    """Preset that fills unset options."""

    method: str = Field(
        "reverse_then_forward",
        description=f"Method of training: {', '.join((*METHODS, FORWARD_KL))}.",
        json_schema_extra={"default": "reverse_then_forward; reverse_kl with stochastic layers"},
    )

    data: Place | None = None
    """Directory of samples for forward_kl, such as a reference."""

    tensorboard: bool = False
    """Also write files for TensorBoard."""

    accelerator: Literal["cpu", "cuda"] = "cpu"
    """Device for training and sampling."""

    devices: Count = 1
    """Number of processes that divide each step, one per device; started here unless torchrun or srun did."""

    samples: Count = 100_000
    """Number of structures to sample after the training."""

    check_picoseconds: TimeOrNone = Field(20.0, json_schema_extra={"option": "--check-ps"})
    """Length in ps of the final simulation that searches for lost basins; 0 for none."""

    seed: Seed = 0
    """Seed of all random numbers."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_asked_for(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop None, which in older files means that the preset sets the option."""
        return {name: value for name, value in values.items() if value is not None}

    def completed(self, coordinates: int) -> Self:
        """The settings with unset options filled from the preset, for a flow with this many coordinates."""
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
    """Lowest temperature in K; if not given the system's own, or 300 K for a PDB file."""

    picoseconds: Time = 200.0
    """Recorded time of each replica, in ps."""

    equilibration: TimeOrNone = 50.0
    """Equilibration time before that, in ps.

    In its first half all replicas are at the highest temperature.
    """

    ladders: int = Field(64, ge=2, lt=2**63)
    """Number of independent ladders; their scatter gives the errors."""

    temperatures: int = Field(8, ge=2, lt=2**63)
    """Number of temperatures in a ladder, geometric from the system's to the highest."""

    hottest: Kelvin = 1200.0
    """Highest temperature, in K."""

    umbrella: Annotated[float, within(1e-3, 1e4, "kJ/mol", zero=True)] = 0.0
    """Depth in kJ/mol of a bias towards φ > 0, removed by reweighting; 0 for none."""

    timestep: Annotated[float, within(1e-5, 0.1, "ps")] | None = None
    """Time step in ps; if not given 0.001, or 0.002 with constraints."""

    hydrogen_mass: Annotated[float, within(0.1, 100.0, "dalton")] | None = None
    """Mass of hydrogens in dalton, repartitioned from bonded atoms; 3 allows longer time steps."""

    friction: Annotated[float, within(1e-3, 1e5, "1/ps")] = 2.0
    """Langevin friction in 1/ps."""

    seed: Seed = 0
    """Seed of all random numbers."""
